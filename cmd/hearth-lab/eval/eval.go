// Package eval judges predictions: ranking (average precision, area under the ROC curve, precision at the top),
// honesty (Brier score, expected calibration error) and how far to trust all of it (bootstrap over devices).
package eval

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// Prediction is one judged prediction.
type Prediction struct {
	Group string  // device (or link, or household): what the bootstrap draws as a whole
	P     float64 // predicted probability
	Y     bool    // what happened
}

// Scores are the figures of a set of predictions. Figures that do not exist (one class only) are NaN.
type Scores struct {
	N, Positive int
	AP          float64 // average precision, ties taken together
	AUC         float64
	P1          float64 // precision in the top 1 % of the predictions
	Brier       float64
	ECE         float64 // expected calibration error, 10 bins of equal mass
}

// Judge computes all scores. It does not change ps.
func Judge(ps []Prediction) Scores {
	sorted := slices.Clone(ps)
	slices.SortStableFunc(sorted, func(a, b Prediction) int { return cmp.Compare(b.P, a.P) })
	weights := make([]float64, len(sorted))
	for i := range weights {
		weights[i] = 1
	}
	return judge(sorted, weights)
}

// judge scores predictions sorted by falling P, each counted weights[i] times.
func judge(ps []Prediction, weights []float64) Scores {
	nan := math.NaN()
	s := Scores{AP: nan, AUC: nan, P1: nan, Brier: nan, ECE: nan}
	n, pos := 0.0, 0.0
	for i, p := range ps {
		n += weights[i]
		if p.Y {
			pos += weights[i]
		}
	}
	s.N, s.Positive = int(n), int(pos)
	if n == 0 {
		return s
	}
	s.Brier, s.ECE = honesty(ps, weights, n)
	top, topN := math.Max(1, math.Ceil(n/100)), 0.0
	tp, seen, ap, auc, hits := 0.0, 0.0, 0.0, 0.0, 0.0
	for i := 0; i < len(ps); {
		j, t, f := i, 0.0, 0.0
		for j < len(ps) && ps[j].P == ps[i].P {
			if ps[j].Y {
				t += weights[j]
			} else {
				f += weights[j]
			}
			j++
		}
		if t+f > 0 {
			if room := top - topN; room > 0 {
				use := math.Min(room, t+f) // a tie that straddles the border counts in proportion
				hits += use * t / (t + f)
				topN += use
			}
			auc += f * (tp + t/2)
			tp += t
			seen += t + f
			ap += t * tp / seen
		}
		i = j
	}
	s.P1 = hits / topN
	if pos > 0 && pos < n {
		s.AP, s.AUC = ap/pos, auc/(pos*(n-pos))
	}
	return s
}

// honesty returns the Brier score and the calibration error of sorted predictions.
func honesty(ps []Prediction, weights []float64, n float64) (brier, ece float64) {
	type bin struct{ n, p, y float64 }
	var bins [10]bin
	seen := 0.0
	for i, p := range ps {
		w := weights[i]
		if w == 0 {
			continue
		}
		y := 0.0
		if p.Y {
			y = 1
		}
		brier += w * (p.P - y) * (p.P - y)
		b := &bins[min(9, int(10*(seen+w/2)/n))]
		seen += w
		b.n += w
		b.p += w * p.P
		b.y += w * y
	}
	for _, b := range bins {
		ece += math.Abs(b.p-b.y) / n
	}
	return brier / n, ece
}

// Interval is a central interval of a bootstrap distribution.
type Interval struct{ Lo, Hi float64 }

// Intervals are 90 % intervals of the scores, and the draws behind them for paired comparisons.
type Intervals struct {
	AP, AUC, P1, Brier, ECE Interval
	Draws                   []Scores
}

// Bootstrap draws whole groups with replacement. The same seed and the same groups give the same draws, so two
// models judged on the same rows are compared pair by pair.
func Bootstrap(ps []Prediction, draws int, seed uint64) Intervals {
	sorted := slices.Clone(ps)
	slices.SortStableFunc(sorted, func(a, b Prediction) int { return cmp.Compare(b.P, a.P) })
	names := make([]string, 0, 64)
	for _, p := range ps {
		names = append(names, p.Group)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	index := make(map[string]int, len(names))
	for i, g := range names {
		index[g] = i
	}
	group := make([]int, len(sorted))
	for i, p := range sorted {
		group[i] = index[p.Group]
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	var out Intervals
	weights := make([]float64, len(sorted))
	for range draws {
		count := make([]float64, len(names))
		for range names {
			count[rng.IntN(len(names))]++
		}
		for i, g := range group {
			weights[i] = count[g]
		}
		out.Draws = append(out.Draws, judge(sorted, weights))
	}
	out.AP = interval(out.Draws, func(s Scores) float64 { return s.AP })
	out.AUC = interval(out.Draws, func(s Scores) float64 { return s.AUC })
	out.P1 = interval(out.Draws, func(s Scores) float64 { return s.P1 })
	out.Brier = interval(out.Draws, func(s Scores) float64 { return s.Brier })
	out.ECE = interval(out.Draws, func(s Scores) float64 { return s.ECE })
	return out
}

func interval(draws []Scores, of func(Scores) float64) Interval {
	var v []float64
	for _, d := range draws {
		if x := of(d); x == x {
			v = append(v, x)
		}
	}
	if len(v) == 0 {
		return Interval{math.NaN(), math.NaN()}
	}
	slices.Sort(v)
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1)+0.5)] }
	return Interval{at(0.05), at(0.95)}
}

// Gain is how much b is above a in one score, draw by draw, and the share of draws in which it is.
func Gain(a, b Intervals, of func(Scores) float64) (Interval, float64) {
	var d []Scores
	up, n := 0.0, 0.0
	for i := range min(len(a.Draws), len(b.Draws)) {
		x := of(b.Draws[i]) - of(a.Draws[i])
		if x != x {
			continue
		}
		d = append(d, Scores{AP: x})
		n++
		if x > 0 {
			up++
		}
	}
	return interval(d, func(s Scores) float64 { return s.AP }), up / n
}
