package risk

import (
	"fmt"
	"math"
	"strings"
)

// Observer scores one hub from its samples: bind each metric once, put its values, end the sample with Tick.
// It raises at the model's Raise threshold and clears below Clear, so that a score near a threshold does not
// make it flap. It is not safe for concurrent use and does not allocate after Bind.
type Observer struct {
	m     *Model
	link  *Link
	score *Scorer
	binds []bind
	cur   []float64 // the sample being gathered, per signal; NaN: nothing yet
	high  bool
	last  float64
}

type bind struct {
	metric string
	signal int     // -1: only a gate
	gate   int     // handle of the gate's metric; -1: open
	prev   float64 // of a counter
	prevAt float64
	value  float64
}

// Risk is the state of the observed link after a sample.
type Risk struct {
	Score
	High    bool // at or above Raise, and not yet below Clear; never while the model abstains
	Changed bool // High differs from the sample before
}

// NewObserver returns an observer that starts from nothing. The model must be compiled.
func NewObserver(m *Model) *Observer {
	o := &Observer{m: m, link: m.NewLink(), score: NewScorer(m), cur: make([]float64, len(m.Input.Signals))}
	o.clear()
	return o
}

func (o *Observer) clear() {
	for i := range o.cur {
		o.cur[i] = math.NaN()
	}
}

// Model returns the model in use.
func (o *Observer) Model() *Model { return o.m }

// Bind returns a handle for the metric, or -1 when the model does not use it. Binding a metric again returns the
// same handle.
func (o *Observer) Bind(metric string) int {
	for i := range o.binds {
		if o.binds[i].metric == metric {
			return i
		}
	}
	signal, gate := -1, false
	name, instance, _ := strings.Cut(metric, "{")
	for i := range o.m.Input.Signals {
		s := &o.m.Input.Signals[i]
		gate = gate || s.Gate != "" && s.Gate == name
		if signal < 0 && s.hears(metric) {
			signal = i
		}
	}
	if signal < 0 && !gate {
		return -1
	}
	o.binds = append(o.binds, bind{metric: metric, signal: signal, gate: -1, prev: math.NaN(), value: math.NaN()})
	h := len(o.binds) - 1
	if signal >= 0 && o.m.Input.Signals[signal].Gate != "" {
		door := o.m.Input.Signals[signal].Gate
		if instance != "" {
			door += "{" + instance
		}
		g := o.Bind(door) // may move binds
		o.binds[h].gate = g
	}
	return h
}

func (s *Signal) hears(metric string) bool {
	if len(s.Metrics) == 0 {
		return metric == s.Name
	}
	for _, p := range s.Metrics {
		if match(p, metric) {
			return true
		}
	}
	return false
}

// match compares with a pattern in which '*' stands for any run of characters.
func match(pattern, s string) bool {
	head, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	if !strings.HasPrefix(s, head) {
		return false
	}
	for s = s[len(head):]; ; s = s[1:] {
		if match(rest, s) {
			return true
		}
		if s == "" {
			return false
		}
	}
}

// Put gives the value of a bound metric in the present sample. The handle -1 and values that are NaN are ignored.
func (o *Observer) Put(handle int, v float64) {
	if handle >= 0 && v == v {
		o.binds[handle].value = v
	}
}

// Take ends a sample as Tick does, without scoring it.
func (o *Observer) Take(at float64) {
	for i := range o.binds {
		b := &o.binds[i]
		v := b.value
		if b.signal < 0 || v != v || b.gate >= 0 && !(o.binds[b.gate].value > 0) {
			continue
		}
		s := &o.m.Input.Signals[b.signal]
		if s.Rate {
			prev, dt := b.prev, at-b.prevAt
			b.prev, b.prevAt = v, at
			if prev != prev || v < prev || dt <= 0 {
				continue
			}
			v = (v - prev) / dt
		}
		switch c := o.cur[b.signal]; {
		case c != c, s.Fold == FoldMax && v > c, s.Fold == FoldMin && v < c:
			o.cur[b.signal] = v
		case s.Fold == FoldSum:
			o.cur[b.signal] = c + v
		}
	}
	for i := range o.binds {
		o.binds[i].value = math.NaN()
	}
	for i, v := range o.cur {
		o.m.layout.Put(o.link, i, at, v)
	}
	o.clear()
	o.last = at
}

// Tick ends the sample taken at time at (seconds of a clock that does not run backwards) and scores it.
func (o *Observer) Tick(at float64) Risk {
	o.Take(at)
	r := Risk{Score: o.score.Score(o.link, at)}
	r.High = r.Abstain == Scored && (r.Probability >= o.m.Raise || o.high && r.Probability >= o.m.Clear)
	r.Changed = r.High != o.high
	o.high = r.High
	return r
}

// Features writes the features after the last sample to out, one for each of the model's; missing ones are NaN.
func (o *Observer) Features(out []float32) { o.m.layout.Features(o.link, o.last, out) }

// Export returns what the observer has learned about its link, for Restore.
func (o *Observer) Export() ([]byte, error) { return o.m.Export(o.link, o.last) }

// Restore replaces what the observer knows by an exported state, as if it had been taken at time at on the
// present clock: so a hub goes on after a restart, or starts from a recorded baseline.
func (o *Observer) Restore(state []byte, at float64) error {
	k, err := o.m.Restore(state, at)
	if err != nil {
		return fmt.Errorf("observer: %w", err)
	}
	o.link, o.last = k, at
	return nil
}
