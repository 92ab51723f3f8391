package predict

import (
	"math"

	"github.com/hearthline/hearthline/protocol/risk"
)

// Tally adds up what became of a model's predictions, hub by hub, and how another one did on the same moments. The
// sums are kept, not the moments, so that a long look can be taken in small steps and go on after a crash. The zero
// Tally has seen nothing.
type Tally struct {
	Hubs   float64 `json:"hubs"`
	Faults float64 `json:"faults"` // different ones: a long one is many moments

	N         float64 `json:"n"` // moments, a horizon apart, at which the model spoke
	Predicted float64 `json:"predicted"`
	Observed  float64 `json:"observed"`
	Variance  float64 `json:"variance"` // of Observed, if moments were independent
	Spread    float64 `json:"spread"`   // the same over hubs, whose moments are not: the sum of (observed - predicted)²

	Both   float64 `json:"both"` // moments at which the other model spoke too
	Gained float64 `json:"gained"`
	GainSq float64 `json:"gain_sq"`
	GainN  float64 `json:"gain_n"`
	BothSq float64 `json:"both_sq"`
	Rivals float64 `json:"rivals"` // hubs with such moments
}

// hub adds one hub's predictions; other, of the same moments, may be nil. P is NaN where a model abstains.
func (t *Tally) hub(model, other []Outcome, faults int) {
	var one Tally
	for i, o := range model {
		if o.P != o.P {
			continue
		}
		one.N++
		one.Predicted += o.P
		one.Observed += float64(number(o.Fault))
		one.Variance += o.P * (1 - o.P)
		if other != nil && other[i].P == other[i].P {
			one.Both++
			one.Gained += nats(other[i]) - nats(o)
		}
	}
	if one.N == 0 {
		return
	}
	one.Hubs, one.Faults = 1, float64(faults)
	one.Spread = (one.Observed - one.Predicted) * (one.Observed - one.Predicted)
	one.GainSq, one.GainN, one.BothSq = one.Gained*one.Gained, one.Gained*one.Both, one.Both*one.Both
	if one.Both > 0 {
		one.Rivals = 1
	}
	*t = t.plus(one, 1)
}

// plus adds another tally to what is left of this one.
func (t Tally) plus(o Tally, left float64) Tally {
	sum := func(a, b float64) float64 { return a*left + b }
	return Tally{
		sum(t.Hubs, o.Hubs), sum(t.Faults, o.Faults),
		sum(t.N, o.N), sum(t.Predicted, o.Predicted), sum(t.Observed, o.Observed), sum(t.Variance, o.Variance), sum(t.Spread, o.Spread),
		sum(t.Both, o.Both), sum(t.Gained, o.Gained), sum(t.GainSq, o.GainSq), sum(t.GainN, o.GainN), sum(t.BothSq, o.BothSq), sum(t.Rivals, o.Rivals),
	}
}

// deviation is the standard deviation of Observed when the model is calibrated: the larger of what independent
// moments would have and what the hubs show.
func (t Tally) deviation() float64 { return math.Sqrt(math.Max(t.Variance, t.Spread)) }

// Drift is how many standard deviations more faults came than were predicted (negative: fewer); 0 for none seen.
func (t Tally) Drift() float64 {
	if s := t.deviation(); s > 0 {
		return (t.Observed - t.Predicted) / s
	}
	return 0
}

// Interval is between how many times as many faults as predicted the truth lies, at some standard deviations; all of
// [0, ∞) when nothing was predicted.
func (t Tally) Interval(deviations float64) (lo, hi float64) {
	if t.Predicted <= 0 {
		return 0, math.Inf(1)
	}
	s := deviations * t.deviation()
	return math.Max(0, t.Observed-s) / t.Predicted, (t.Observed + s) / t.Predicted
}

// Gain is by how many nats a moment the model predicts better than the other, and the standard error of that over
// hubs, which is without bound for fewer than two.
func (t Tally) Gain() (gain, doubt float64) {
	if t.Rivals < 2 {
		return 0, math.Inf(1)
	}
	gain = t.Gained / t.Both
	v := t.GainSq - 2*gain*t.GainN + gain*gain*t.BothSq
	return gain, math.Sqrt(math.Max(0, v)*t.Rivals/(t.Rivals-1)) / t.Both
}

// tally plays one history to both models, and counts the faults that began between two moments.
func (p *Plan) tally(t *Tally, inUse, model *risk.Model, h History, from, to float64) error {
	a, err := p.predictions(inUse, h)
	if err != nil {
		return err
	}
	b, err := p.predictions(model, h)
	if err != nil {
		return err
	}
	faults := 0
	for _, f := range h.Faults {
		if !f.Unclear && f.From >= from && f.From < to {
			faults++
		}
	}
	t.hub(b, a, faults)
	return nil
}

// predictions plays a history to a model; P is NaN where it abstains.
func (p *Plan) predictions(m *risk.Model, h History) ([]Outcome, error) {
	var out []Outcome
	s := risk.NewScorer(m)
	x := make([]float32, len(m.Input.Features))
	err := p.follow(m, h, func(o *risk.Observer, fault bool) {
		o.Features(x)
		r := s.Features(x)
		if r.Abstain != risk.Scored {
			r.Probability = math.NaN()
		}
		out = append(out, Outcome{r.Probability, fault})
	})
	return out, err
}

// nats is what a prediction costs: the log loss of a moment. A certainty that fails does not cost everything.
func nats(o Outcome) float64 {
	p := math.Max(1e-6, math.Min(1-1e-6, o.P))
	if o.Fault {
		return -math.Log(p)
	}
	return -math.Log(1 - p)
}
