// Package wake tells live screens that a home has something new to show. A wake carries no data, only
// the hint to look again, so one that is lost or comes twice harms nothing.
package wake

import "sync"

// Waker is how those who commit reach those who watch. Local serves one process; the external broker's
// end (gateway/external) carries wakes to all instances.
type Waker interface {
	// Wake says that something of the home was committed, or, with neither tenant nor home, that anything may
	// have been and everybody had better look. It never blocks.
	Wake(tenant, home string)
	// Subscribe returns a channel that receives after every wake of the home, or of any home of the tenant
	// when home is "". Wakes that come while one is waiting to be received are merged into it. stop ends it.
	Subscribe(tenant, home string) (woken <-chan struct{}, stop func())
}

// Local is the Waker of one process. The zero value is ready. It is safe for concurrent use.
type Local struct {
	mu       sync.RWMutex
	watchers map[place]map[chan struct{}]struct{}
}

type place struct{ tenant, home string }

// Wake implements Waker.
func (l *Local) Wake(tenant, home string) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if tenant == "" {
		for _, watchers := range l.watchers {
			wake(watchers)
		}
		return
	}
	wake(l.watchers[place{tenant, ""}])
	if home != "" {
		wake(l.watchers[place{tenant, home}])
	}
}

func wake(watchers map[chan struct{}]struct{}) {
	for c := range watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// Subscribe implements Waker.
func (l *Local) Subscribe(tenant, home string) (woken <-chan struct{}, stop func()) {
	p, c := place{tenant, home}, make(chan struct{}, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.watchers == nil {
		l.watchers = map[place]map[chan struct{}]struct{}{}
	}
	if l.watchers[p] == nil {
		l.watchers[p] = map[chan struct{}]struct{}{}
	}
	l.watchers[p][c] = struct{}{}
	return c, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.watchers[p], c)
		if len(l.watchers[p]) == 0 {
			delete(l.watchers, p)
		}
	}
}
