package sampler_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/sampler"
	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// device plays a function of time.
type device struct {
	schema *protocol.Schema
	start  time.Time
	at     func(time.Duration) []float64
	mu     sync.Mutex
	taken  []time.Duration
}

func (d *device) Sample(context.Context) (*protocol.Sample, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := time.Since(d.start)
	d.taken = append(d.taken, at)
	v := d.at(at)
	if v == nil {
		return nil, errors.New("nothing could be read")
	}
	return &protocol.Sample{Schema: d.schema, Values: v}, nil
}

// log keeps what was said, and when.
type log struct {
	mu     sync.Mutex
	start  time.Time
	events []said
	blocks []*protocol.Block
	sealed []time.Duration
	schema []*protocol.Schema
}

type said struct {
	protocol.Event
	id protocol.EntryID
	at time.Duration
}

func (l *log) Event(_ context.Context, e *protocol.Event) (protocol.EntryID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := protocol.DeviceEntryID("hub-1", 1, uint64(len(l.events)+1))
	l.events = append(l.events, said{*e, id, time.Since(l.start)})
	return id, nil
}

func (l *log) Telemetry(kind protocol.Kind, body []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if kind == protocol.KindSchema {
		s := new(protocol.Schema)
		l.schema = append(l.schema, s)
		return protocol.Unmarshal(body, s)
	}
	b := new(protocol.Block)
	l.blocks, l.sealed = append(l.blocks, b), append(l.sealed, time.Since(l.start))
	return protocol.Unmarshal(body, b)
}

func (l *log) of(kind protocol.EventKind) (found []said) {
	for _, e := range l.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func metrics(t *testing.T, names ...string) *protocol.Schema {
	t.Helper()
	var m []protocol.Metric
	for _, n := range names {
		m = append(m, protocol.Metric{Name: n, Kind: protocol.Gauge, Scale: 2})
	}
	s, err := protocol.NewSchema(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// play samples the device for so long in fake time.
func play(t *testing.T, schema *protocol.Schema, long time.Duration, at func(time.Duration) []float64, change ...func(*sampler.Options)) (l *log, d *device) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		l, d = &log{start: now}, &device{schema: schema, start: now, at: at}
		opts := sampler.Options{Source: d, Log: l, Clock: agent.NewClock()}
		for _, c := range change {
			c(&opts)
		}
		s, err := sampler.New(opts)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), long)
		defer cancel()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return l, d
}

func TestACalmDeviceIsSampledEveryTenSecondsAndSealedEveryFiveMinutes(t *testing.T) {
	schema := metrics(t, "wan.rtt_ms")
	l, d := play(t, schema, time.Hour+time.Second, func(time.Duration) []float64 { return []float64{20} })
	rows := 0
	for _, b := range l.blocks {
		rows += int(b.Rows)
	}
	if len(d.taken) != 361 || rows != 361 || len(l.blocks) != 13 || len(l.schema) != 1 || len(l.events) != 0 {
		t.Errorf("%d samples, %d rows in %d blocks, %d schemas, %d events", len(d.taken), rows, len(l.blocks), len(l.schema), len(l.events))
	}
}

func TestASymptomBeginsQuicklyCitesItsFirstSampleAndEndsSlowly(t *testing.T) {
	schema := metrics(t, "wan.loss_ratio", "cpu.busy_ratio")
	l, _ := play(t, schema, 10*time.Minute, func(at time.Duration) []float64 {
		loss := 0.0
		if at >= 60*time.Second && at < 180*time.Second && at/time.Second%7 < 4 { // flaps
			loss = 0.3
		}
		return []float64{loss, 1}
	}, func(o *sampler.Options) { o.Interval = time.Second })
	seen, over := l.of(protocol.EventSymptom), l.of(protocol.EventSymptomOver)
	if len(seen) != 2 || len(over) != 1 {
		t.Fatalf("%d symptoms, %d ended, want one of loss and one of five busy minutes", len(seen), len(over))
	}
	if e := seen[0]; e.Args["metric"] != "wan.loss_ratio" || e.at > 66*time.Second || e.Evidence[0].From > l.start.Add(64*time.Second).UnixMilli() {
		t.Errorf("seen after %s: %v, evidence %v", e.at, e.Args, e.Evidence)
	}
	if e := over[0]; e.at < 195*time.Second || e.at > 205*time.Second || e.Because[0] != seen[0].id {
		t.Errorf("over after %s because of %v", e.at, e.Because)
	}
	if e := seen[1]; e.Args["metric"] != "cpu.busy_ratio" || e.at < 5*time.Minute {
		t.Errorf("a busy processor was worth an entry after %s", e.at)
	}
	for i, at := range l.sealed {
		if at > 62*time.Second && at < 180*time.Second && i > 0 && at-l.sealed[i-1] > 4*time.Second && l.sealed[i-1] > 62*time.Second {
			t.Errorf("a block took %s while a symptom was open", at-l.sealed[i-1])
		}
	}
}

func TestMissingDataIsNeitherASymptomNorItsEnd(t *testing.T) {
	schema := metrics(t, "gateway.reachable")
	l, _ := play(t, schema, 5*time.Minute, func(at time.Duration) []float64 {
		switch {
		case at < time.Minute:
			return []float64{1}
		case at < 2*time.Minute:
			return []float64{0}
		case at < 3*time.Minute:
			return nil
		}
		return []float64{math.NaN()}
	}, func(o *sampler.Options) { o.Interval = time.Second })
	if len(l.of(protocol.EventSymptom)) != 1 || len(l.of(protocol.EventSymptomOver)) != 0 {
		t.Errorf("events %v", l.events)
	}
}

func TestAnIdleResolverIsNobodysSymptom(t *testing.T) {
	schema := metrics(t, "dns.failure_ratio", "dns.active")
	for active, want := range map[float64]int{0: 0, 1: 1} {
		l, _ := play(t, schema, time.Minute, func(time.Duration) []float64 { return []float64{1, active} }, func(o *sampler.Options) { o.Interval = time.Second })
		if n := len(l.of(protocol.EventSymptom)); n != want {
			t.Errorf("with dns.active %v: %d symptoms, want %d", active, n, want)
		}
	}
}

func TestWhatIsUsualForThisDeviceIsNoSymptom(t *testing.T) {
	schema := metrics(t, "wan.rtt_ms")
	l, _ := play(t, schema, 10*time.Minute, func(at time.Duration) []float64 {
		if at < 3*time.Minute {
			return []float64{100} // a slow line
		}
		return []float64{220} // beyond the bound, but not thrice the usual
	}, func(o *sampler.Options) { o.Interval = time.Second })
	if len(l.events) != 0 {
		t.Errorf("events %v", l.events)
	}
}

func TestMetricsThatComeAndGoMakeANewSchemaAndEndWhatBelongedToThem(t *testing.T) {
	one, two := metrics(t, "gateway.reachable", "wan.rtt_ms"), metrics(t, "wan.rtt_ms")
	d := &device{schema: one}
	l, _ := play(t, one, 2*time.Minute, nil, func(o *sampler.Options) {
		o.Interval = time.Second
		d.start = time.Now()
		d.at = func(at time.Duration) []float64 {
			if at < time.Minute {
				return []float64{0, 20}
			}
			d.schema = two
			return []float64{20}
		}
		o.Source = d
	})
	over := l.of(protocol.EventSymptomOver)
	if len(l.schema) != 2 || len(over) != 1 || over[0].Args["reason"] != "gone" {
		t.Fatalf("%d schemas, ended %v", len(l.schema), over)
	}
	rows := uint64(0)
	for _, b := range l.blocks {
		rows += b.Rows
		if b.Schema != one.ID && b.Schema != two.ID {
			t.Error("a block of no schema")
		}
	}
	if rows != 120 && rows != 121 { // the last one and the end fall together
		t.Errorf("%d rows", rows)
	}
}

// model raises when the latest wan.loss_ratio is high.
func model(t *testing.T) *risk.Model {
	t.Helper()
	m := &risk.Model{Name: "test", Version: 1, Horizon: 600, Raise: 0.6, Clear: 0.4}
	m.Input.Signals = []risk.Signal{{Name: "wan_loss", Metrics: []string{"wan.loss_ratio"}}}
	last := m.Input.Track("wan_loss", risk.Last, 0, 0)
	m.Input.Add(risk.Feature{Form: risk.Plain, A: last})
	m.Parts = []risk.Part{{Weight: 1, Linear: &risk.Linear{Bias: -2, Terms: []risk.Term{{Feature: 0, Scale: 0.1, Clip: 10, Weight: 2}}}}}
	if err := m.Compile(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAHighRiskIsRaisedWithItsEvidenceAndQuickensThePace(t *testing.T) {
	schema := metrics(t, "wan.loss_ratio")
	var state []byte
	l, d := play(t, schema, 20*time.Minute, func(at time.Duration) []float64 {
		if at >= 10*time.Minute && at < 11*time.Minute {
			return []float64{0.5}
		}
		return []float64{0}
	}, func(o *sampler.Options) { o.Model, o.SaveState = model(t), func(b []byte) { state = b } })
	raised, over, seen := l.of(protocol.EventRisk), l.of(protocol.EventRiskOver), l.of(protocol.EventSymptom)
	if len(raised) != 1 || len(over) != 1 || len(seen) != 1 {
		t.Fatalf("%d raised, %d over, %d symptoms", len(raised), len(over), len(seen))
	}
	e := raised[0]
	if e.Risk.Model != "test/1" || e.Risk.Probability < 0.6 || len(e.Risk.Reasons) != 1 || e.Risk.Reasons[0].Feature != "wan_loss" || len(e.Evidence) != 1 {
		t.Errorf("raised %+v, evidence %v", e.Risk, e.Evidence)
	}
	var b protocol.Block
	if err := protocol.Unmarshal(e.Risk.Window, &b); err != nil {
		t.Fatal(err)
	}
	samples, err := b.Samples(schema)
	if err != nil || len(samples) != 30 || samples[29].Values[0] != 0.5 || samples[28].Values[0] != 0 || samples[29].Mono-samples[0].Mono != 290_000 {
		t.Errorf("window of %d samples (%v)", len(samples), err)
	}
	if over[0].Because[0] != e.id {
		t.Errorf("over because of %v", over[0].Because)
	}
	pace := map[bool]int{}
	for _, at := range d.taken {
		pace[at > 10*time.Minute && at < 11*time.Minute]++
	}
	if pace[true] < 55 || pace[false] > 120 {
		t.Errorf("%d samples in the minute of risk, %d in the other nineteen", pace[true], pace[false])
	}
	if state == nil {
		t.Error("what the model learned was not saved")
	}
}

func TestTheRiskNamesTheOpenSymptomsAsItsCauses(t *testing.T) {
	schema := metrics(t, "wan.loss_ratio")
	l, _ := play(t, schema, 5*time.Minute, func(at time.Duration) []float64 {
		return []float64{min(0.5, at.Seconds()/600)} // creeps up: a symptom first
	}, func(o *sampler.Options) { o.Interval, o.Model = time.Second, model(t) })
	seen, raised := l.of(protocol.EventSymptom), l.of(protocol.EventRisk)
	if len(seen) != 1 || len(raised) != 1 || len(raised[0].Because) != 1 || raised[0].Because[0] != seen[0].id {
		t.Fatalf("seen %v, raised %v", seen, raised)
	}
}

func TestTheCalmPaceIsLeftAtTheFirstSymptom(t *testing.T) {
	schema := metrics(t, "wan.loss_ratio")
	_, d := play(t, schema, 2*time.Hour, func(at time.Duration) []float64 {
		if at > 90*time.Minute {
			return []float64{1}
		}
		return []float64{0}
	}, func(o *sampler.Options) { o.Calm = time.Minute })
	n := map[int]int{}
	for _, at := range d.taken {
		n[int(at/(30*time.Minute))]++
	}
	if n[0] < 180 || n[1] > 31 || n[3] < 170 {
		t.Errorf("samples per half hour %v", n)
	}
}

func TestATroubleThatLastsStopsHurryingTheHub(t *testing.T) {
	schema := metrics(t, "wan.loss_ratio")
	l, d := play(t, schema, time.Hour, func(time.Duration) []float64 { return []float64{0.5} },
		func(o *sampler.Options) { o.Model, o.Calm = model(t), time.Minute })
	if len(l.of(protocol.EventRisk)) != 1 || len(l.of(protocol.EventRiskOver)) != 0 {
		t.Fatalf("events %v", l.events)
	}
	n := map[bool]int{}
	for _, at := range d.taken {
		n[at > sampler.HotFor+time.Minute]++
	}
	if n[false] < 570 || n[true] < 290 || n[true] > 296 {
		t.Errorf("%d samples while it is news, %d in the 49 minutes after", n[false], n[true])
	}
	full := 0
	for _, b := range l.blocks {
		if b.Rows >= 29 {
			full++
		}
	}
	if full < 9 || len(l.blocks) > 640 {
		t.Errorf("%d blocks, %d of them of five minutes", len(l.blocks), full)
	}
}
