// Package fleet runs thousands of real agent cores in one process: the agent's own outbox, uplink and
// sampler over replayed homes, each with its own identity and data folder. It is load, chaos and company
// for a cloud, and it keeps an account of its own of what each device was told is acknowledged.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/app"
	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
)

// Member is one device.
type Member struct {
	Identity *agent.Identity
	Dir      string        // its data folder
	Driver   bridge.Driver // closed by the fleet
	Model    []byte        // encoded risk model; may be empty
	Baseline []byte        // what the model knows at first; may be empty
}

// Options configures a Fleet. Members are required.
type Options struct {
	Members   []Member
	Interval  time.Duration // between samples; 0 means 10s
	Batch     time.Duration // age at which telemetry is sent; 0 means 5m
	Spread    time.Duration // of reconnecting; 0 means 40s
	KeepAlive time.Duration // 0 means 30s
	Events    time.Duration // every device records an event "agent.note" about this often; 0: only what it sees
	MaxBytes  int64         // of an outbox; 0 means 8 MiB
	Ledger    *Ledger       // may be nil
	Log       *slog.Logger  // nil means discard
}

// Fleet runs its members. Make it with New, then Run it once.
type Fleet struct {
	opts   Options
	agents []*app.Agent
}

// New opens every member's data folder. On error all are closed again.
func New(opts Options) (*Fleet, error) {
	if len(opts.Members) == 0 {
		return nil, errors.New("fleet: no members")
	}
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 8 << 20
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	f := &Fleet{opts: opts}
	for i := range opts.Members {
		m := &opts.Members[i]
		a, err := app.New(app.Options{
			Dir: m.Dir, Driver: m.Driver, Identity: func() *agent.Identity { return m.Identity }, Model: m.Model, Baseline: m.Baseline,
			Interval: opts.Interval, Batch: opts.Batch, Spread: opts.Spread, KeepAlive: opts.KeepAlive,
			MaxBytes: opts.MaxBytes, MaxMemory: 256 << 10, Log: opts.Log.With("device", m.Identity.Device),
			OnAcked: func(l protocol.Lane, epoch, from, to uint64) {
				opts.Ledger.acked(m.Identity.Device, l, epoch, from, to)
			},
		})
		if err != nil {
			f.abandon()
			return nil, fmt.Errorf("device %s: %w", m.Identity.Device, err)
		}
		f.agents = append(f.agents, a)
	}
	return f, nil
}

// abandon closes agents that never ran: a context that is over makes Run close them at once.
func (f *Fleet) abandon() {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	for _, a := range f.agents {
		_ = a.Run(over)
	}
}

// Online is how many members are connected.
func (f *Fleet) Online() int {
	n := 0
	for _, a := range f.agents {
		if a.Online() {
			n++
		}
	}
	return n
}

// Agents are the members' agents, in order.
func (f *Fleet) Agents() []*app.Agent { return f.agents }

// Run runs all members until ctx ends. A member that fails is reported at the end and does not stop the others.
func (f *Fleet) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	errs := make([]error, len(f.agents))
	for i, a := range f.agents {
		wg.Go(func() {
			if err := a.Run(ctx); err != nil {
				errs[i] = fmt.Errorf("device %s: %w", f.opts.Members[i].Identity.Device, err)
			}
			if err := f.opts.Members[i].Driver.Close(); err != nil {
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	if f.opts.Events > 0 {
		wg.Go(func() { f.note(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// note lets a random member record an event, as often as makes one per member and Options.Events.
func (f *Fleet) note(ctx context.Context) {
	tick := time.NewTicker(max(f.opts.Events/time.Duration(len(f.agents)), 100*time.Microsecond))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		a := f.agents[rand.IntN(len(f.agents))]
		id, err := a.Log().Event(ctx, &protocol.Event{Kind: "agent.note", Args: map[string]string{"n": strconv.Itoa(n)}})
		if err != nil && ctx.Err() == nil {
			f.opts.Log.Warn("event not recorded", "error", err)
		}
		f.opts.Ledger.recorded(id)
	}
}
