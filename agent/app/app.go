// Package app puts the agent together. It is the only package that knows its siblings.
package app

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/command"
	"github.com/hearthline/hearthline/agent/diagnose"
	"github.com/hearthline/hearthline/agent/outbox"
	"github.com/hearthline/hearthline/agent/remedy"
	"github.com/hearthline/hearthline/agent/sampler"
	"github.com/hearthline/hearthline/agent/session"
	"github.com/hearthline/hearthline/agent/uplink"
	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

// Options configures an Agent. Dir, Driver and Identity are required.
type Options struct {
	Dir      string                 // data folder, made with mode 0700
	Driver   bridge.Driver          // closed by whoever opened it
	Identity func() *agent.Identity // the present one
	Reason   string                 // why the agent starts, for its boot event; empty means "start"

	Interval  time.Duration // between samples; 0 means 10s
	Fast      time.Duration // while risk is high; 0 means 1s
	Calm      time.Duration // after half an hour without a symptom; 0 means Interval
	Batch     time.Duration // age at which telemetry is sent; 0 means 5m
	Hot       time.Duration // the same while something is wrong; 0 means 2s
	MaxBytes  int64         // of the outbox on disk; 0 means 64 MiB
	MaxMemory int           // of telemetry in memory; 0 means 1 MiB
	Spread    time.Duration // connecting begins at a random moment within this, after a start too; 0 means 40s (see uplink)
	AtOnce    bool          // the first attempt comes without Spread: the device was just enrolled
	KeepAlive time.Duration // 0 means 30s

	Model    []byte   // encoded risk model to begin with; empty: none until the cloud sends one
	Baseline []byte   // what the model should know of the device if nothing was learned yet
	Assist   []string // program and arguments of hearth-assist; empty: no remote sessions

	Dial    func(ctx context.Context) (net.Conn, error)   // nil: mutual TLS to the identity's broker
	OnAcked func(l protocol.Lane, epoch, from, to uint64) // sequences now known to be committed; must not block
	Log     *slog.Logger                                  // nil means discard
}

// Agent is one device's agent. Make it with New, then Run it once.
type Agent struct {
	opts    Options
	outbox  *outbox.Outbox
	uplink  *uplink.Uplink
	sampler *sampler.Sampler
	gate    *command.Gate
	remedy  *remedy.Remedy
	look    *diagnose.Runner
	session *session.Starter
	log     *slog.Logger

	jobs  sync.WaitGroup // commands being obeyed
	slots map[protocol.Verb]chan struct{}
	ctx   context.Context // of Run, for jobs; set before the uplink starts

	scoring atomic.Pointer[string] // the model's id, or protocol.NoModel

	mu      sync.Mutex
	refused time.Time // when a command without a valid signature was last recorded
}

// Files in the data folder.
const (
	fileOutbox   = "outbox.db"
	fileCounter  = "command.json"
	fileModel    = "model.cose"
	fileBaseline = "risk.state"
)

// New opens the data folder and puts the parts together. It starts nothing; Run must be called to free
// what it holds.
func New(opts Options) (*Agent, error) {
	if opts.Dir == "" || opts.Driver == nil || opts.Identity == nil {
		return nil, errors.New("agent: Dir, Driver and Identity are required")
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, err
	}
	a := &Agent{opts: opts, log: opts.Log, slots: map[protocol.Verb]chan struct{}{
		protocol.VerbFix: make(chan struct{}, 4), protocol.VerbDiagnose: make(chan struct{}, 4), protocol.VerbAssist: make(chan struct{}, 1),
	}}
	id := opts.Identity()
	clock := agent.NewClock()
	floor := time.Time{}
	if id.Certificate.Leaf != nil {
		floor = id.Certificate.Leaf.NotBefore
	}
	var err error
	if a.outbox, err = outbox.Open(outbox.Options{
		Path: filepath.Join(opts.Dir, fileOutbox), Device: id.Device, Clock: clock,
		MaxBytes: opts.MaxBytes, MaxMemory: opts.MaxMemory, Floor: floor, Log: opts.Log,
	}); err != nil {
		return nil, err
	}
	if err := a.assemble(id, clock); err != nil {
		return nil, errors.Join(err, a.outbox.Close())
	}
	return a, nil
}

func (a *Agent) assemble(id *agent.Identity, clock *agent.Clock) (err error) {
	opts := &a.opts
	model, state := a.model()
	a.scores(model)
	dial := opts.Dial
	if dial == nil {
		dial = uplink.TLSDialer(opts.Identity, 20*time.Second)
	}
	if a.uplink, err = uplink.New(uplink.Options{
		Tenant: id.Tenant, Device: id.Device, Dial: dial, Spool: a.outbox, Clock: clock,
		OnTime:    func(signed []byte) error { return clock.Answer(opts.Identity(), signed) },
		OnCommand: a.obey, OnAssist: func(s protocol.Signal) { a.session.Signal(s) }, OnModel: a.adopt, Model: func() string { return *a.scoring.Load() },
		OnAcked: opts.OnAcked, OnRestored: a.restored,
		Spread: opts.Spread, AtOnce: opts.AtOnce, KeepAlive: opts.KeepAlive, Log: opts.Log,
	}); err != nil {
		return err
	}
	if a.sampler, err = sampler.New(sampler.Options{
		Source: opts.Driver, Log: a.outbox, Clock: clock,
		Interval: opts.Interval, Fast: opts.Fast, Calm: opts.Calm, Batch: opts.Batch, Hot: opts.Hot,
		Model: model, State: state, SaveState: a.saveState, Logger: opts.Log,
	}); err != nil {
		return err
	}
	if a.gate, err = command.New(command.Options{Identity: opts.Identity, Clock: clock, Path: filepath.Join(opts.Dir, fileCounter)}); err != nil {
		return err
	}
	if a.remedy, err = remedy.New(remedy.Options{Hub: opts.Driver, Journal: a.outbox, Log: opts.Log}); err != nil {
		return err
	}
	if a.look, err = diagnose.New(diagnose.Options{Hub: opts.Driver, Log: a.outbox}); err != nil {
		return err
	}
	a.session, err = session.New(session.Options{
		Now:     func() time.Time { return clock.Now(opts.Identity()) },
		Command: opts.Assist, Log: a.outbox, Send: a.uplink.Signal, Logger: opts.Log,
	})
	return err
}

// Log is where the agent records; others in the same process may add to it, between New and the end of Run.
func (a *Agent) Log() agent.Log { return a.outbox }

// Online reports whether the broker is connected.
func (a *Agent) Online() bool { return a.uplink.Online() }

// Run does everything until ctx ends, then closes what New opened. It returns the first error of a part,
// or nil after a stop that was asked for.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a.ctx = ctx
	if err := a.begin(ctx); err != nil {
		return errors.Join(err, a.outbox.Close())
	}
	parts := []func(context.Context) error{a.outbox.Run, a.sampler.Run, a.uplink.Run}
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, run := range parts {
		wg.Go(func() {
			errs[i] = run(ctx)
			stop() // one part gone, all go
		})
	}
	wg.Wait()
	a.jobs.Wait()
	return errors.Join(append(errs, a.outbox.Close())...)
}

// begin says that the agent started and ends what an earlier life left unfinished.
func (a *Agent) begin(ctx context.Context) error {
	args := map[string]string{"version": agent.Version, "reason": a.opts.Reason, "boot": strconv.FormatUint(a.outbox.Boot(), 10)}
	if args["reason"] == "" {
		args["reason"] = "start"
	}
	if d, err := a.opts.Driver.Describe(ctx); err == nil {
		for k, v := range map[string]string{"model": d.Model, "firmware": d.Firmware, "hardware": d.Hardware, "kernel": d.Kernel, "bridge": d.Bridge} {
			if v != "" {
				args[k] = v
			}
		}
	}
	boot, err := a.outbox.Event(ctx, &protocol.Event{Kind: protocol.EventBoot, Args: args})
	if err != nil {
		return fmt.Errorf("record the start: %w", err)
	}
	if why := a.outbox.SetAside(); why != "" {
		_, err := a.outbox.Event(ctx, &protocol.Event{Kind: protocol.EventOutboxReset, Because: []protocol.EntryID{boot}, Args: map[string]string{"reason": clip(why)}})
		if err != nil {
			return fmt.Errorf("record the lost outbox: %w", err)
		}
	}
	if err := a.remedy.Recover(ctx); err != nil {
		a.log.Error("former state not restored", "error", err)
	}
	return nil
}

// restored tells of an outage worth telling.
func (a *Agent) restored(ctx context.Context, down time.Duration, why string, attempts int) {
	if down < 30*time.Second {
		return
	}
	_, err := a.outbox.Event(ctx, &protocol.Event{Kind: protocol.EventUplink, Args: map[string]string{
		"why": why, "down_ms": strconv.FormatInt(down.Milliseconds(), 10), "attempts": strconv.Itoa(attempts),
	}})
	if err != nil {
		a.log.Error("event lost", "kind", string(protocol.EventUplink), "error", err)
	}
}

func clip(s string) string { return s[:min(len(s), 500)] }

// trusted are the keys that may send a model.
func (a *Agent) trusted() []ed25519.PublicKey { return a.opts.Identity().CommandKeys }

// model returns the newest model that the device has, with what it learned: the one that the cloud sent
// last, else the one of the options.
func (a *Agent) model() (*risk.Model, []byte) {
	state, err := os.ReadFile(filepath.Join(a.opts.Dir, fileBaseline))
	if err != nil {
		state = a.opts.Baseline
	}
	b := a.opts.Model
	if signed, err := os.ReadFile(filepath.Join(a.opts.Dir, fileModel)); err == nil {
		if payload, err := protocol.Verify(protocol.PurposeModel, signed, a.trusted()); err == nil {
			b = payload
		}
	}
	if len(b) == 0 {
		return nil, nil
	}
	m, err := risk.Decode(b)
	if err != nil {
		a.log.Error("risk model refused", "error", err)
		return nil, nil
	}
	return m, state
}

// adopt takes a model that the cloud sent.
func (a *Agent) adopt(signed []byte) {
	payload, err := protocol.Verify(protocol.PurposeModel, signed, a.trusted())
	if err != nil {
		a.log.Warn("risk model refused", "error", err)
		return
	}
	m, err := risk.Decode(payload)
	if err != nil {
		a.log.Warn("risk model refused", "error", err)
		return
	}
	if err := agent.WriteFile(filepath.Join(a.opts.Dir, fileModel), signed); err != nil {
		a.log.Error("risk model not kept", "error", err)
	}
	a.sampler.SetModel(m)
	a.scores(m)
	a.log.Info("risk model adopted", "model", m.ID())
}

// scores notes which model the hub scores by, for its state.
func (a *Agent) scores(m *risk.Model) {
	id := protocol.NoModel
	if m != nil {
		id = m.ID()
	}
	a.scoring.Store(&id)
}

func (a *Agent) saveState(state []byte) {
	if err := agent.WriteFile(filepath.Join(a.opts.Dir, fileBaseline), state); err != nil {
		a.log.Error("what the model learned is not kept", "error", err)
	}
}
