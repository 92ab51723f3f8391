// Package assist brings a support agent's browser and a device together: it relays the few signals
// that set up their WebRTC connection, and runs the TURN server that carries it where no direct path
// exists. Who may open a session, and with whose consent, is decided elsewhere.
package assist

import (
	"context"
	"sync"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/protocol"
)

// Limits of the relay. Signals are only worth keeping while a connection is being set up.
const (
	maxSignals  = 64              // per session and direction to the browser: an answer and its candidates
	maxSessions = 4096            // with signals waiting; the oldest make room
	keepSignals = 2 * time.Minute // after the last one, when no browser watches
)

// publish sends a payload to a device, at most once; the gateway provides it.
type publish func(ctx context.Context, tenant, device string, c protocol.Channel, payload []byte) error

// Relay passes signals between browsers and devices. It is safe for concurrent use.
//
// A signal from a device is filed under the tenant and device that the broker authenticated, so a
// device can never speak in a session of another. Where many instances run, each gets every signal
// and the one that the browser is connected to has a watcher.
type Relay struct {
	publish publish

	mu    sync.Mutex
	calls map[call]*line
}

// call names one session of one device.
type call struct{ tenant, device, session string }

// line is what a device said in one session, in order, and who waits for more.
type line struct {
	signals []protocol.Signal
	last    time.Time
	more    chan struct{} // closed and replaced with each signal
	watched int
}

// NewRelay returns a relay that reaches devices by publish.
func NewRelay(publish func(ctx context.Context, tenant, device string, c protocol.Channel, payload []byte) error) *Relay {
	return &Relay{publish: publish, calls: map[call]*line{}}
}

// ToDevice sends a signal of a browser. Errors are cloud.Error of CodeInvalid or CodeUnavailable.
func (r *Relay) ToDevice(ctx context.Context, tenant, device string, s protocol.Signal) error {
	s.Version = protocol.Version
	if len(s.Body) > protocol.MaxSignal {
		return cloud.Invalid("body", "%d bytes, limit %d", len(s.Body), protocol.MaxSignal)
	}
	switch s.Kind {
	case "offer", "candidate", "end":
	default:
		return cloud.Invalid("kind", "want offer, candidate or end")
	}
	payload, err := protocol.Marshal(&s)
	if err != nil {
		return err
	}
	if err := r.publish(ctx, tenant, device, protocol.DownAssist, payload); err != nil {
		return &cloud.Error{Code: cloud.CodeUnavailable, Message: "the device cannot be reached now", Err: err}
	}
	return nil
}

// Deliver takes a signal that a device sent. It does not block; what exceeds the limit of a session is
// dropped, since no set-up needs that many.
func (r *Relay) Deliver(tenant, device string, s protocol.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.open(call{tenant, device, s.Session})
	if len(l.signals) == maxSignals {
		return
	}
	l.signals = append(l.signals, s)
	l.last = time.Now()
	close(l.more)
	l.more = make(chan struct{})
}

// Watch calls each with every signal of the device in this session, from the first on and as they
// come, until ctx is done or each returns an error, which it returns.
func (r *Relay) Watch(ctx context.Context, tenant, device, session string, each func(protocol.Signal) error) error {
	key := call{tenant, device, session}
	r.mu.Lock()
	l := r.open(key)
	l.watched++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		l.watched--
		l.last = time.Now()
		r.mu.Unlock()
	}()
	for seen := 0; ; {
		r.mu.Lock()
		signals, more := l.signals[seen:], l.more
		r.mu.Unlock()
		for _, s := range signals {
			if err := each(s); err != nil {
				return err
			}
		}
		seen += len(signals)
		if len(signals) > 0 {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// open returns the line of a call and makes room for a new one. The caller holds mu.
func (r *Relay) open(key call) *line {
	if l := r.calls[key]; l != nil {
		return l
	}
	r.sweep(time.Now())
	l := &line{last: time.Now(), more: make(chan struct{})}
	r.calls[key] = l
	return l
}

// sweep forgets calls that nobody watches and nobody added to for a while, and the oldest unwatched
// one when there are too many.
func (r *Relay) sweep(now time.Time) {
	var oldest *call
	for key, l := range r.calls {
		if l.watched > 0 {
			continue
		}
		if now.Sub(l.last) > keepSignals {
			delete(r.calls, key)
		} else if oldest == nil || l.last.Before(r.calls[*oldest].last) {
			oldest = &key
		}
	}
	if len(r.calls) >= maxSessions && oldest != nil {
		delete(r.calls, *oldest)
	}
}
