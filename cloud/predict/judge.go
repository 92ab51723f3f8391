package predict

import (
	"cmp"
	"math"
	"slices"
)

// Outcome is a prediction and what came of it.
type Outcome struct {
	P     float64
	Fault bool
}

// Quality says how good predictions were.
type Quality struct {
	N         int     `json:"n"`
	Faults    int     `json:"faults"`
	LogLoss   float64 `json:"log_loss"`  // nats; what models are compared by
	Brier     float64 `json:"brier"`     // mean square error of the probability
	ECE       float64 `json:"ece"`       // expected calibration error, ten bins of equal mass
	Predicted float64 `json:"predicted"` // mean probability
	Observed  float64 `json:"observed"`  // share of faults
	AP        float64 `json:"ap"`        // average precision; 0 when there is only one class
}

// Judge computes the quality of predictions; the zero Quality for none.
func Judge(ps []Outcome) Quality {
	q := Quality{N: len(ps)}
	if q.N == 0 {
		return q
	}
	sorted := slices.Clone(ps)
	slices.SortStableFunc(sorted, func(a, b Outcome) int { return cmp.Compare(b.P, a.P) })
	n := float64(len(ps))
	var binP, binY [10]float64
	hit := 0.0
	for i, o := range sorted {
		y := float64(number(o.Fault))
		p := math.Max(1e-9, math.Min(1-1e-9, o.P))
		q.LogLoss -= (y*math.Log(p) + (1-y)*math.Log(1-p)) / n
		q.Brier += (o.P - y) * (o.P - y) / n
		q.Predicted += o.P / n
		q.Observed += y / n
		b := i * 10 / len(ps)
		binP[b] += o.P
		binY[b] += y
		if o.Fault {
			hit++
			q.AP += hit / float64(i+1)
		}
	}
	q.Faults = int(hit)
	if q.AP /= math.Max(1, hit); q.Faults == 0 || q.Faults == q.N {
		q.AP = 0
	}
	for b := range binP {
		q.ECE += math.Abs(binP[b]-binY[b]) / n
	}
	return q
}
