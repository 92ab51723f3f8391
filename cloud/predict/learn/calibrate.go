package learn

import (
	"math"
	"slices"

	"github.com/hearthline/hearthline/protocol/risk"
)

// Platt fits p = sigmoid(slope*z + offset) to logits z, labels y (0 or 1) and weights w (nil: all 1), with the
// slight pull towards slope 1 and offset 0 that keeps small samples honest (prior counts as that many rows).
func Platt(z []float64, y, w []float32, prior float64) (slope, offset float64) {
	slope = 1
	for range 30 {
		ga, gb := -prior*(slope-1), -prior*0.1*offset
		haa, hbb, hab := prior, prior*0.1+1e-9, 0.0
		for i, v := range z {
			p, wt := sigmoid(slope*v+offset), 1.0
			if w != nil {
				wt = float64(w[i])
			}
			e, s := wt*(float64(y[i])-p), wt*p*(1-p)
			ga += e * v
			gb += e
			haa += s * v * v
			hab += s * v
			hbb += s
		}
		det := haa*hbb - hab*hab
		if det <= 1e-12 {
			break
		}
		da, db := (hbb*ga-hab*gb)/det, (haa*gb-hab*ga)/det
		slope += math.Max(-0.5, math.Min(0.5, da))
		offset += math.Max(-1, math.Min(1, db))
		slope = math.Max(0.05, slope)
		if math.Abs(da)+math.Abs(db) < 1e-7 {
			break
		}
	}
	return slope, offset
}

// Isotonic fits a rising step function (pool adjacent violators) and returns it as knots for linear
// interpolation between the middles of its steps, which keeps the order of the scores. Steps hold at least min
// rows, so that the ends are not certain of what they saw once.
func Isotonic(z []float64, y []float32, minRows int) risk.Calibration {
	order := make([]int, len(z))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case z[a] < z[b]:
			return -1
		case z[a] > z[b]:
			return 1
		}
		return 0
	})
	type step struct{ n, y, z float64 }
	var steps []step
	for i := 0; i < len(order); {
		s := step{}
		for i < len(order) && (s.n < float64(minRows) || z[order[i]] == z[order[i-1]] || len(order)-i < minRows) {
			s.n++
			s.y += float64(y[order[i]])
			s.z += z[order[i]]
			i++
		}
		steps = append(steps, s)
		for k := len(steps) - 1; k > 0 && steps[k-1].y*steps[k].n >= steps[k].y*steps[k-1].n; k-- {
			steps[k-1] = step{steps[k-1].n + steps[k].n, steps[k-1].y + steps[k].y, steps[k-1].z + steps[k].z}
			steps = steps[:k]
		}
	}
	var c risk.Calibration
	for _, s := range steps {
		x := s.z / s.n
		if n := len(c.X); n > 0 && x <= c.X[n-1] {
			continue
		}
		c.X = append(c.X, x)
		c.P = append(c.P, (s.y+0.5)/(s.n+1))
	}
	for i := 1; i < len(c.P); i++ {
		c.P[i] = math.Max(c.P[i], c.P[i-1])
	}
	if len(c.X) == 1 { // one step: the same everywhere
		c.X, c.P = append(c.X, c.X[0]+1), append(c.P, c.P[0])
	}
	return c
}
