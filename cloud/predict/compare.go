package predict

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/hearthline/hearthline/protocol/risk"
)

// Compare plays the histories of a source to two models that hear the same horizon and returns by how many nats a
// moment the second predicts better, and the standard error of that over homes. Moments in which either abstains
// are left out. Use histories that are newer than what the candidate learned from.
func Compare(ctx context.Context, src Source, inUse, candidate *risk.Model, p Plan) (gain, doubt float64, err error) {
	if inUse.Horizon != candidate.Horizon {
		return 0, 0, fmt.Errorf("models speak of different horizons, %g s and %g s", inUse.Horizon, candidate.Horizon)
	}
	p.Horizon = inUse.Horizon
	type sum struct{ gain, n float64 }
	homes := map[string]*sum{}
	total := sum{}
	for h, err := range src.Histories(ctx) {
		if err != nil {
			return 0, 0, err
		}
		a, err := p.predictions(inUse, h)
		if err != nil {
			return 0, 0, err
		}
		b, err := p.predictions(candidate, h)
		if err != nil {
			return 0, 0, err
		}
		if homes[h.Home] == nil {
			homes[h.Home] = &sum{}
		}
		for i := range a {
			if a[i].P != a[i].P || b[i].P != b[i].P {
				continue
			}
			g := nats(a[i]) - nats(b[i])
			homes[h.Home].gain += g
			homes[h.Home].n++
			total.gain += g
			total.n++
		}
	}
	if total.n == 0 || len(homes) < 2 {
		return 0, 0, errors.Join(ErrTooLittle, ctx.Err())
	}
	gain = total.gain / total.n
	for _, s := range homes {
		d := s.gain - gain*s.n
		doubt += d * d
	}
	n := float64(len(homes))
	return gain, math.Sqrt(doubt*n/(n-1)) / total.n, nil
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

func nats(o Outcome) float64 {
	p := math.Max(1e-6, math.Min(1-1e-6, o.P))
	if o.Fault {
		return -math.Log(p)
	}
	return -math.Log(1 - p)
}
