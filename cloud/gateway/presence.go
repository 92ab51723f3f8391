package gateway

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
)

// presence writes who is there. Only the latest of each device counts, so a device that flaps costs no
// more than one that stays, and a fleet that comes back together is written in a few commits.
type presence struct {
	db      store.DB
	devices Devices
	keep    Presence
	log     *slog.Logger

	mu      sync.Mutex
	pending map[place]seen
	changed chan struct{} // capacity 1
}

type place struct{ tenant, device string }

type seen struct {
	online bool
	agent  string // version, "" when not yet known
	model  string // that it scores by, likewise
	at     time.Time
}

func newPresence(db store.DB, devices Devices, keep Presence, log *slog.Logger) *presence {
	return &presence{db: db, devices: devices, keep: keep, log: log, pending: map[place]seen{}, changed: make(chan struct{}, 1)}
}

// note takes a change in. It never blocks.
func (p *presence) note(at place, s seen) {
	p.mu.Lock()
	if was, ok := p.pending[at]; ok && s.agent == "" {
		s.agent, s.model = was.agent, was.model
	}
	p.pending[at] = s
	p.mu.Unlock()
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// maxPresence bounds one commit.
const maxPresence = 1024

func (p *presence) take() map[place]seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) <= maxPresence {
		out := p.pending
		p.pending = map[place]seen{}
		return out
	}
	out := make(map[place]seen, maxPresence)
	for at, s := range p.pending {
		out[at] = s
		delete(p.pending, at)
		if len(out) == maxPresence {
			break
		}
	}
	select {
	case p.changed <- struct{}{}:
	default:
	}
	return out
}

// giveBack returns a change that could not be written, unless a newer one has come.
func (p *presence) giveBack(at place, s seen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, newer := p.pending[at]; !newer {
		p.pending[at] = s
	}
}

// run writes until ctx ends. What is pending then is found again by reconcile after the next start.
func (p *presence) run(ctx context.Context) {
	var again <-chan time.Time
	for {
		select {
		case <-p.changed:
		case <-again:
		case <-ctx.Done():
			return
		}
		again = nil
		if !p.write(ctx) {
			again = time.After(time.Second)
		}
	}
}

// write commits what is pending; ok is false when some of it has to be tried again.
func (p *presence) write(ctx context.Context) (ok bool) {
	var work []store.Work
	var places []place
	changes := p.take()
	for at, s := range changes {
		places = append(places, at)
		work = append(work, store.Work{Tenant: at.tenant, Do: func(tx store.Tx) error {
			home, err := p.devices.Home(tx, at.device)
			if err != nil {
				return err
			}
			if s.online {
				return p.keep.Came(tx, home, at.device, s.agent, s.model, s.at)
			}
			return p.keep.Left(tx, home, at.device, s.at)
		}})
	}
	ok = true
	for i, err := range p.db.Batch(ctx, work) {
		switch {
		case err == nil, errors.Is(err, store.ErrNotFound): // gone from the registry meanwhile
		case ctx.Err() != nil:
			return true
		default:
			ok = false
			p.log.Warn("presence not written, trying again", "tenant", places[i].tenant, "device", places[i].device, "error", err)
			p.giveBack(places[i], changes[places[i]])
		}
	}
	return ok
}

// reconcile marks as gone the devices that were there when the last process ended and have not come back
// within patience: nobody saw them leave.
func (p *presence) reconcile(ctx context.Context, tenants []string, connected func(place) bool, now time.Time) {
	for _, tenant := range tenants {
		var after store.Cursor
		for {
			var online []string
			err := p.db.View(ctx, tenant, func(tx store.Tx) (err error) {
				online, after, err = p.keep.Online(tx, after, maxPresence)
				return err
			})
			if err != nil {
				p.log.Error("presence not reconciled", "tenant", tenant, "error", err)
				break
			}
			for _, device := range online {
				if at := (place{tenant, device}); !connected(at) {
					p.note(at, seen{at: now})
				}
			}
			if after == "" {
				break
			}
		}
	}
}
