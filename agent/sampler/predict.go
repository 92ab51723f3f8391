package sampler

import (
	"context"
	"log/slog"
	"math"

	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

// predictor is the hub's own model with what it has learned about this device.
type predictor struct {
	observer *risk.Observer
	handles  []int // by column
	high     bool
	raised   protocol.EntryID // the risk.raised event, while it lasts
}

// use takes another model. The state is tried first, then what the former observer knew.
func (p *predictor) use(m *risk.Model, state []byte, at float64, log *slog.Logger) {
	if state == nil {
		state = p.export()
	}
	p.observer = risk.NewObserver(m)
	if state != nil {
		if err := p.observer.Restore(state, at); err != nil {
			log.Info("model starts from nothing", "model", m.Name, "reason", err)
		}
	}
}

func (p *predictor) export() []byte {
	if p.observer == nil {
		return nil
	}
	state, err := p.observer.Export()
	if err != nil {
		return nil
	}
	return state
}

// bind tells the model which column is which signal.
func (s *Sampler) bind() {
	s.hub.handles = nil
	if s.hub.observer == nil || s.schema == nil {
		return
	}
	s.hub.handles = make([]int, len(s.schema.Metrics))
	for i := range s.schema.Metrics {
		m := &s.schema.Metrics[i]
		name := m.Name
		if m.Instance != "" {
			name += "{" + m.Instance + "}"
		}
		s.hub.handles[i] = s.hub.observer.Bind(name)
	}
}

// predict scores a sample and reports whether the risk rose above the model's threshold.
func (s *Sampler) predict(ctx context.Context, sample *protocol.Sample) (rose bool) {
	if s.hub.handles == nil {
		return false
	}
	for i, h := range s.hub.handles {
		s.hub.observer.Put(h, sample.Values[i])
	}
	r := s.hub.observer.Tick(float64(sample.Mono) / 1000)
	if r.Abstain != risk.Scored || r.High == s.hub.high {
		return false
	}
	s.hub.high = r.High
	model := s.hub.observer.Model()
	e := &protocol.Event{Risk: &protocol.Risk{Model: model.ID(), Probability: r.Probability, HorizonS: int64(model.Horizon)}}
	if !r.High {
		e.Kind = protocol.EventRiskOver
		if s.hub.raised != "" {
			e.Because = []protocol.EntryID{s.hub.raised}
		}
		s.event(ctx, e)
		s.hub.raised = ""
		return false
	}
	e.Kind = protocol.EventRisk
	e.Because = s.causes()
	for _, reason := range r.Reasons[:r.N] {
		metric := s.column(reason.Signal)
		out := protocol.Reason{Feature: reason.Signal, Value: finite(reason.Value), Normal: finite(reason.Usual), Share: reason.Share}
		if metric >= 0 {
			m := &s.schema.Metrics[metric]
			out.Instance = m.Instance
			e.Evidence = append(e.Evidence, protocol.Evidence{Metric: m.Name, Instance: m.Instance, From: s.recent.since(), To: sample.Wall})
		}
		e.Risk.Reasons = append(e.Risk.Reasons, out)
	}
	e.Risk.Window = s.recent.seal(s.schema)
	s.hub.raised = s.event(ctx, e)
	return true
}

// column finds the metric behind a model's signal that stands out most: the one with an open symptom if there
// is one, else the first. It returns -1 when there is none.
func (s *Sampler) column(signal string) int {
	metric := -1
	model := s.hub.observer.Model()
	at := model.Input.Index(signal)
	if at < 0 {
		return -1
	}
	for i := range s.watched {
		m := &s.schema.Metrics[i]
		if !feeds(&model.Input.Signals[at], m.Name) {
			continue
		}
		if metric < 0 || s.watched[i].open != "" && s.watched[metric].open == "" {
			metric = i
		}
	}
	return metric
}

func feeds(signal *risk.Signal, metric string) bool {
	if len(signal.Metrics) == 0 {
		return signal.Name == metric
	}
	for _, pattern := range signal.Metrics {
		if base(pattern) == metric {
			return true
		}
	}
	return false
}

// base is the metric's name without the instance pattern in braces.
func base(pattern string) string {
	for i := range len(pattern) {
		if pattern[i] == '{' || pattern[i] == '*' {
			return pattern[:i]
		}
	}
	return pattern
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// since is the wall time of the oldest row of the window.
func (w *window) since() int64 {
	if len(w.rows) < windowRows {
		return w.wall[0]
	}
	return w.wall[w.next]
}
