// Package sampler reads the device at a steady pace and turns readings into what is worth saying:
// sealed blocks of telemetry, events when a signal leaves its normal range or comes back, and the hub's
// own prediction.
//
//	driver ─▶ sample ─┬─▶ sealer ──▶ schema, block      (a block per Batch; at once when something rises)
//	                  ├─▶ rules  ──▶ symptom.seen / symptom.cleared
//	                  └─▶ model  ──▶ risk.raised / risk.cleared, and a faster pace while it is high
//
// A symptom names the samples that showed it as evidence, and a raised risk names the open symptoms as its
// causes: the first link of every causal chain.
package sampler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

// source is what the sampler needs of a driver.
type source interface {
	Sample(ctx context.Context) (*protocol.Sample, error)
}

// Options configures a Sampler. Source, Log and Clock are required.
type Options struct {
	Source   source
	Log      agent.Log
	Clock    *agent.Clock
	Interval time.Duration // between samples; 0 means 10s
	Fast     time.Duration // while risk is high, at most HotFor after the last event; 0 means 1s, never more than Interval
	Calm     time.Duration // after CalmAfter without a symptom; 0 means Interval
	Batch    time.Duration // age at which a block is sealed; 0 means 5m
	Hot      time.Duration // the same while risk is high or a symptom is open, at most HotFor after the last event; 0 means 2s, never more than Batch
	Rules    []Rule        // nil means DefaultRules

	Model     *risk.Model        // nil until SetModel: no prediction on the hub
	State     []byte             // what risk.Observer.Export gave on the last stop, or a recorded baseline
	SaveState func(state []byte) // called when Run ends; may be nil

	Logger *slog.Logger // nil means discard
}

// HotFor is how long after the last event what is wrong still hurries. By then it is told, and a trouble may
// last for months: a hub should not sample, send and be acknowledged every second or ten because of it.
const HotFor = 10 * time.Minute

// calmAfter is how long nothing may have happened before the pace drops to Options.Calm.
const calmAfter = 30 * time.Minute

// windowRows is how many of the latest samples accompany a raised risk.
const windowRows = 30

// maxBlockValues keeps a block well below the largest record, also if no value could be compressed.
const maxBlockValues = 20_000

// Sampler runs in one goroutine. SetModel may be called from any.
type Sampler struct {
	opts    Options
	models  chan *risk.Model
	schema  *protocol.Schema
	sealer  *protocol.Sealer
	first   int64 // Mono of the oldest row that waits to be sealed
	recent  window
	watched []watch // by column
	hub     predictor
	eventAt int64 // Mono of the last event
	failing bool
}

// New checks the options. It starts nothing.
func New(opts Options) (*Sampler, error) {
	if opts.Source == nil || opts.Log == nil || opts.Clock == nil {
		return nil, errors.New("sampler: Source, Log and Clock are required")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&opts.Interval, 10 * time.Second}, {&opts.Fast, time.Second}, {&opts.Batch, 5 * time.Minute}, {&opts.Hot, 2 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
		if *d.field < 10*time.Millisecond {
			return nil, fmt.Errorf("sampler: %s between samples or blocks is too short", *d.field)
		}
	}
	opts.Fast = min(opts.Fast, opts.Interval)
	opts.Hot = min(opts.Hot, opts.Batch)
	opts.Calm = max(opts.Calm, opts.Interval)
	if opts.Rules == nil {
		opts.Rules = DefaultRules()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Sampler{opts: opts, models: make(chan *risk.Model, 1)}, nil
}

// SetModel replaces the model before the next sample. What was learned about the device under the former
// one is kept if the new one listens to the same things.
func (s *Sampler) SetModel(m *risk.Model) {
	select {
	case <-s.models: // an older one that was never used
	default:
	}
	s.models <- m
}

// Run samples until ctx ends, then seals what it has and returns nil.
func (s *Sampler) Run(ctx context.Context) error {
	if s.opts.Model != nil {
		s.hub.use(s.opts.Model, s.opts.State, s.seconds(), s.opts.Logger)
	}
	tick := time.NewTimer(0)
	defer tick.Stop()
	pace := s.opts.Interval
	for {
		select {
		case <-ctx.Done():
			return s.stop()
		case m := <-s.models:
			s.hub.use(m, nil, s.seconds(), s.opts.Logger)
			s.bind()
			continue
		case <-tick.C:
		}
		began := time.Now()
		s.once(ctx, pace)
		pace = s.pace()
		tick.Reset(max(pace-time.Since(began), 0))
	}
}

func (s *Sampler) stop() error {
	s.seal()
	if state := s.hub.export(); state != nil && s.opts.SaveState != nil {
		s.opts.SaveState(state)
	}
	return nil
}

func (s *Sampler) seconds() float64 { return float64(s.opts.Clock.Mono()) / 1000 }

func (s *Sampler) pace() time.Duration {
	switch quiet := s.quiet(); {
	case s.hub.high && quiet < HotFor:
		return s.opts.Fast
	case quiet > calmAfter && !s.wrong():
		return s.opts.Calm
	}
	return s.opts.Interval
}

// quiet is how long ago the last event was, or the start.
func (s *Sampler) quiet() time.Duration {
	return time.Duration(s.opts.Clock.Mono()-s.eventAt) * time.Millisecond
}

// wrong reports whether risk is high or any symptom lasts.
func (s *Sampler) wrong() bool { return s.hub.high || s.open() }

// once takes one sample through everything. A failed sample is logged once and tried again.
func (s *Sampler) once(ctx context.Context, pace time.Duration) {
	within, cancel := context.WithTimeout(ctx, max(pace, time.Second))
	defer cancel()
	sample, err := s.opts.Source.Sample(within)
	if err != nil {
		if !s.failing && ctx.Err() == nil {
			s.opts.Logger.Error("device cannot be sampled", "error", err)
		}
		s.failing = true
		return
	}
	s.failing = false
	sample.Mono, sample.Wall = s.opts.Clock.Mono(), s.opts.Clock.Wall()
	if s.schema == nil || s.schema.ID != sample.Schema.ID {
		if err := s.adopt(sample.Schema); err != nil {
			s.opts.Logger.Error("schema refused", "error", err)
			return
		}
	}
	if s.sealer.Rows() == 0 {
		s.first = sample.Mono
	}
	if err := s.sealer.Add(sample); err != nil {
		s.opts.Logger.Error("sample refused", "error", err)
		return
	}
	s.recent.add(sample)
	rose := s.watch(ctx, sample)
	if s.predict(ctx, sample) {
		rose = true
	}
	limit := s.opts.Batch
	if s.wrong() && s.quiet() < HotFor {
		limit = s.opts.Hot
	}
	age := time.Duration(sample.Mono-s.first)*time.Millisecond + pace // as it would be after the next sample
	if rose || age >= limit || (s.sealer.Rows()+1)*len(s.schema.Metrics) > maxBlockValues {
		s.seal()
	}
}

// adopt begins a new schema: seals what belongs to the former and tells the cloud.
func (s *Sampler) adopt(schema *protocol.Schema) error {
	sealer, err := protocol.NewSealer(schema)
	if err != nil {
		return err
	}
	s.seal()
	body, err := protocol.Marshal(schema)
	if err != nil {
		return err
	}
	if err := s.opts.Log.Telemetry(protocol.KindSchema, body); err != nil {
		return err
	}
	s.rewatch(schema)
	s.schema, s.sealer = schema, sealer
	s.recent = window{}
	s.bind()
	return nil
}

func (s *Sampler) seal() {
	if s.sealer == nil {
		return
	}
	b := s.sealer.Seal()
	if b == nil {
		return
	}
	body, err := protocol.Marshal(b)
	if err == nil {
		err = s.opts.Log.Telemetry(protocol.KindBlock, body)
	}
	if err != nil {
		s.opts.Logger.Error("telemetry lost", "rows", b.Rows, "error", err)
	}
}

// event records an event and returns its id, or none when it could not be recorded.
func (s *Sampler) event(ctx context.Context, e *protocol.Event) protocol.EntryID {
	s.eventAt = s.opts.Clock.Mono()
	id, err := s.opts.Log.Event(context.WithoutCancel(ctx), e)
	if err != nil {
		s.opts.Logger.Error("event lost", "kind", string(e.Kind), "error", err)
	}
	return id
}

// window keeps the latest samples at full pace.
type window struct {
	rows [][]float64 // a ring once it has windowRows
	mono [windowRows]int64
	wall [windowRows]int64
	next int
}

func (w *window) add(s *protocol.Sample) {
	if len(w.rows) < windowRows {
		w.rows = append(w.rows, make([]float64, len(s.Values)))
	}
	copy(w.rows[w.next], s.Values)
	w.mono[w.next], w.wall[w.next] = s.Mono, s.Wall
	w.next = (w.next + 1) % windowRows
}

// seal returns the window as an encoded block, oldest row first.
func (w *window) seal(schema *protocol.Schema) []byte {
	sealer, err := protocol.NewSealer(schema)
	if err != nil {
		return nil
	}
	n := len(w.rows)
	first := 0
	if n == windowRows {
		first = w.next
	}
	for i := range n {
		at := (first + i) % n
		if sealer.Add(&protocol.Sample{Mono: w.mono[at], Wall: w.wall[at], Schema: schema, Values: w.rows[at]}) != nil {
			return nil
		}
	}
	body, err := protocol.Marshal(sealer.Seal())
	if err != nil {
		return nil
	}
	return body
}
