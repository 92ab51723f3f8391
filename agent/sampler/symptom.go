package sampler

import (
	"context"
	"math"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// Rule says when a metric is out of its normal range. Fixed bounds hold always; a Factor compares with what
// this device usually shows.
type Rule struct {
	Metric string
	Min    float64       // below it is abnormal; NaN does not bound
	Max    float64       // above it is abnormal; NaN does not bound. With a Factor: only values above Max are compared
	Factor float64       // abnormal above Factor times the usual value as well as above Max; 0: Max alone decides
	Lasts  time.Duration // it must be abnormal for so long, in every sample; 0: in two samples
	Active string        // a metric that must not be 0 at the same instance, where there is one: an idle resolver is nobody's symptom
}

// DefaultRules are the ranges of the linux driver's metrics (see its package for their meaning).
func DefaultRules() []Rule {
	no := math.NaN()
	return []Rule{
		{Metric: "gateway.reachable", Min: 1, Max: no},
		{Metric: "gateway.loss_ratio", Min: no, Max: 0.05},
		{Metric: "gateway.rtt_ms", Min: no, Max: 50, Factor: 5},
		{Metric: "wan.loss_ratio", Min: no, Max: 0.05},
		{Metric: "wan.rtt_ms", Min: no, Max: 150, Factor: 3},
		{Metric: "cloud.loss_ratio", Min: no, Max: 0.05},
		{Metric: "cloud.rtt_ms", Min: no, Max: 300, Factor: 3},
		{Metric: "dns.latency_ms", Min: no, Max: 150, Factor: 4, Active: "dns.active"},
		{Metric: "dns.failure_ratio", Min: no, Max: 0.2, Active: "dns.active"},
		{Metric: "iface.carrier", Min: 1, Max: no, Active: "route.default"},
		{Metric: "wifi.rssi_dbm", Min: -82, Max: no},
		{Metric: "cpu.busy_ratio", Min: no, Max: 0.97, Lasts: 5 * time.Minute},
		{Metric: "mem.available_bytes", Min: 8 << 20, Max: no, Lasts: 5 * time.Minute},
		{Metric: "disk.free_bytes", Min: 4 << 20, Max: no, Lasts: 5 * time.Minute},
		{Metric: "temp_celsius", Min: no, Max: 90, Lasts: 5 * time.Minute},
	}
}

// A symptom begins quickly and ends slowly: under packet loss a signal is normal every few samples, and a
// person wants to read of one trouble, not of twenty.
const (
	seenAfter    = 2                // abnormal samples in a row make a symptom: one may be an accident
	clearedAfter = 10               // normal samples in a row end it
	clearedFor   = 20 * time.Second // and so long since the last abnormal one
	learnFrom    = 10               // samples before a usual value is trusted; until then Max alone decides
)

// watch follows one column under one rule.
type watch struct {
	rule   *Rule
	active int // column of Rule.Active, or -1

	usual   float64 // slow mean of normal values
	learned int
	bad     int   // abnormal samples in a row
	good    int   // normal samples in a row while open
	first   int64 // wall time of the first abnormal sample
	began   int64 // the same on the monotonic clock
	last    int64 // of the last abnormal sample, monotonic
	worst   float64
	open    protocol.EntryID // the symptom.seen event, while it lasts
}

// rewatch carries what is known over to the columns of the next schema. It ends symptoms of columns that are gone.
func (s *Sampler) rewatch(next *protocol.Schema) {
	old := map[[2]string]watch{}
	if s.schema != nil {
		for i := range s.watched {
			m := &s.schema.Metrics[i]
			old[[2]string{m.Name, m.Instance}] = s.watched[i]
		}
	}
	s.watched = make([]watch, len(next.Metrics))
	for i := range next.Metrics {
		m := &next.Metrics[i]
		k := [2]string{m.Name, m.Instance}
		w := old[k]
		delete(old, k)
		w.rule, w.active = nil, -1
		for r := range s.opts.Rules {
			if rule := &s.opts.Rules[r]; rule.Metric == m.Name {
				w.rule = rule
				w.active = column(next, rule.Active, m.Instance)
			}
		}
		s.watched[i] = w
	}
	for k, w := range old {
		if w.open != "" {
			s.event(context.Background(), &protocol.Event{
				Kind: protocol.EventSymptomOver, Because: []protocol.EntryID{w.open},
				Args: map[string]string{"metric": k[0], "instance": k[1], "reason": "gone"},
			})
		}
	}
}

func column(schema *protocol.Schema, name, instance string) int {
	for i := range schema.Metrics {
		if m := &schema.Metrics[i]; name != "" && m.Name == name && m.Instance == instance {
			return i
		}
	}
	return -1
}

// watch applies the rules to a sample and reports whether a symptom began.
func (s *Sampler) watch(ctx context.Context, sample *protocol.Sample) (began bool) {
	for i := range s.watched {
		w := &s.watched[i]
		if w.rule == nil {
			continue
		}
		v := sample.Values[i]
		if math.IsNaN(v) {
			continue // missing data is neither a symptom nor its end
		}
		idle := w.active >= 0 && sample.Values[w.active] == 0
		if !idle && w.abnormal(v) {
			if w.bad == 0 {
				w.first, w.began, w.worst = sample.Wall, sample.Mono, v
			}
			w.bad++
			w.good, w.last = 0, sample.Mono
			if math.Abs(v-w.usual) > math.Abs(w.worst-w.usual) {
				w.worst = v
			}
			if w.open == "" && w.bad >= seenAfter && sample.Mono-w.began >= w.rule.Lasts.Milliseconds() {
				w.open = s.event(ctx, s.symptom(protocol.EventSymptom, i, sample))
				began = began || w.open != ""
			}
			continue
		}
		w.learn(v)
		w.good++
		if w.open == "" {
			w.bad = 0
			continue
		}
		if w.good >= clearedAfter && sample.Mono-w.last >= clearedFor.Milliseconds() {
			e := s.symptom(protocol.EventSymptomOver, i, sample)
			e.Because = []protocol.EntryID{w.open}
			if s.event(ctx, e) != "" {
				w.open, w.bad = "", 0
			}
		}
	}
	return began
}

func (w *watch) abnormal(v float64) bool {
	if v < w.rule.Min {
		return true
	}
	if !(v > w.rule.Max) {
		return false
	}
	return w.rule.Factor == 0 || w.learned < learnFrom || v > w.rule.Factor*w.usual
}

// learn moves the usual value towards a normal one, quickly at first.
func (w *watch) learn(v float64) {
	w.learned = min(w.learned+1, 1000)
	w.usual += (v - w.usual) / float64(w.learned)
}

func (s *Sampler) symptom(kind protocol.EventKind, i int, sample *protocol.Sample) *protocol.Event {
	w, m := &s.watched[i], &s.schema.Metrics[i]
	args := map[string]string{"metric": m.Name, "value": text(sample.Values[i], m.Scale), "worst": text(w.worst, m.Scale)}
	if m.Instance != "" {
		args["instance"] = m.Instance
	}
	if w.learned >= learnFrom {
		args["normal"] = text(w.usual, m.Scale)
	}
	return &protocol.Event{
		Kind: kind, Args: args,
		Evidence: []protocol.Evidence{{Metric: m.Name, Instance: m.Instance, From: w.first, To: sample.Wall}},
	}
}

func text(v float64, scale int8) string {
	return strconv.FormatFloat(v, 'f', max(int(scale), 0), 64)
}

// open reports whether any symptom lasts.
func (s *Sampler) open() bool {
	for i := range s.watched {
		if s.watched[i].open != "" {
			return true
		}
	}
	return false
}

// causes are the open symptoms, newest columns last, as many as an event may name.
func (s *Sampler) causes() []protocol.EntryID {
	var ids []protocol.EntryID
	for i := range s.watched {
		if id := s.watched[i].open; id != "" && len(ids) < protocol.MaxCauses {
			ids = append(ids, id)
		}
	}
	return ids
}
