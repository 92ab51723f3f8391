package learn

import (
	"errors"
	"math"
	"slices"

	"github.com/hearthline/hearthline/protocol/risk"
)

// Logistic configures a ridge-regularised logistic regression. Zero values take the defaults in brackets.
type Logistic struct {
	Ridge  float64 // penalty on standardised weights, as a share of the total weight [0.001]
	Clip   float64 // standardised values are cut off here [3]
	Rounds int     // Newton steps and halvings [15]
	Only   []int   // use only these features; nil means all
}

// ErrOneClass is returned when the labels are all the same: there is nothing to tell apart.
var ErrOneClass = errors.New("all labels are the same, nothing can be learned from them")

// Fit fits the logistic to rows of m (nil: all). Columns are centred on their median and scaled by a robust
// spread; a missing value counts as the median, and columns that are constant are left out.
func (o Logistic) Fit(m *Matrix, y, w []float32, rows []int32) (*risk.Linear, error) {
	def(&o.Ridge, 0.001)
	def(&o.Clip, 3)
	def(&o.Rounds, 15)
	if rows == nil {
		rows = make([]int32, m.Rows())
		for i := range rows {
			rows[i] = int32(i)
		}
	}
	total, pos := 0.0, 0.0
	for _, r := range rows {
		v := 1.0
		if w != nil {
			v = float64(w[r])
		}
		total += v
		pos += v * float64(y[r])
	}
	if pos <= 0 || pos >= total {
		return nil, ErrOneClass
	}
	terms := o.terms(m, rows)
	d := len(terms) + 1
	// Standardised rows, bias last.
	x := make([]float32, len(rows)*d)
	parallel(len(rows), func(i int) {
		src, dst := m.Row(int(rows[i])), x[i*d:(i+1)*d]
		for j, t := range terms {
			if v := float64(src[t.Feature]); v == v {
				dst[j] = float32(math.Max(-t.Clip, math.Min(t.Clip, (v-t.Center)/t.Scale)))
			}
		}
		dst[d-1] = 1
	})
	beta := make([]float64, d)
	beta[d-1] = math.Log(pos / (total - pos))
	best := math.Inf(1)
	kept := append([]float64(nil), beta...)
	for range o.Rounds {
		loss, step := newton(x, rows, y, w, beta, o.Ridge*total)
		if loss > best { // the step was too long: half of it, from where it began
			for j := range beta {
				beta[j] = (beta[j] + kept[j]) / 2
			}
			continue
		}
		gain := best - loss
		best = loss
		copy(kept, beta)
		for j := range beta {
			beta[j] += step[j]
		}
		if gain < 1e-7*total {
			break
		}
	}
	copy(beta, kept)
	for j := range terms {
		terms[j].Weight = beta[j]
	}
	return &risk.Linear{Bias: beta[d-1], Terms: terms}, nil
}

func (o Logistic) terms(m *Matrix, rows []int32) []risk.Term {
	cols := o.Only
	if cols == nil {
		for c := range m.Cols {
			cols = append(cols, c)
		}
	}
	all := make([]risk.Term, len(cols))
	parallel(len(cols), func(k int) {
		c := cols[k]
		v := make([]float32, 0, len(rows))
		for _, r := range rows {
			if x := m.X[int(r)*m.Cols+c]; x == x && !math.IsInf(float64(x), 0) {
				v = append(v, x)
			}
		}
		if len(v) < 10 {
			return
		}
		slices.Sort(v)
		q := func(p float64) float64 { return float64(v[int(p*float64(len(v)-1))]) }
		scale := (q(0.9) - q(0.1)) / 2.56 // of a normal distribution, its standard deviation
		if s := (q(0.99) - q(0.01)) / 4.65; scale < s/3 {
			scale = s // a value that is nearly always the same and sometimes far off
		}
		if scale > 0 {
			all[k] = risk.Term{Feature: uint16(c), Center: q(0.5), Scale: scale, Clip: o.Clip}
		}
	})
	return slices.DeleteFunc(all, func(t risk.Term) bool { return t.Scale == 0 })
}

// newton returns the penalised loss at beta and the step to the minimum of its quadratic model.
func newton(x []float32, rows []int32, y, w []float32, beta []float64, ridge float64) (float64, []float64) {
	d := len(beta)
	const chunks = 8 // fixed, so that the sums do not depend on the number of processors
	grad, hess, loss := make([][]float64, chunks), make([][]float64, chunks), make([]float64, chunks)
	parallel(chunks, func(c int) {
		g, h := make([]float64, d), make([]float64, d*d)
		for i := c * len(rows) / chunks; i < (c+1)*len(rows)/chunks; i++ {
			v := x[i*d : (i+1)*d]
			z := 0.0
			for j, b := range beta {
				z += b * float64(v[j])
			}
			p, wt := sigmoid(z), 1.0
			if w != nil {
				wt = float64(w[rows[i]])
			}
			loss[c] += wt * logLoss(z, y[rows[i]] > 0)
			e, s := wt*(float64(y[rows[i]])-p), wt*p*(1-p)
			for j := range v {
				a := float64(v[j])
				if a == 0 {
					continue
				}
				g[j] += e * a
				sa := s * a
				row := h[j*d : j*d+j+1]
				for k := range row {
					row[k] += sa * float64(v[k])
				}
			}
		}
		grad[c], hess[c] = g, h
	})
	g, h := grad[0], hess[0]
	for c := 1; c < chunks; c++ {
		loss[0] += loss[c]
		for i, v := range grad[c] {
			g[i] += v
		}
		for i, v := range hess[c] {
			h[i] += v
		}
	}
	for j := range d {
		h[j*d+j] += 1e-9
		if j < d-1 { // the bias is free
			loss[0] += 0.5 * ridge * beta[j] * beta[j]
			g[j] -= ridge * beta[j]
			h[j*d+j] += ridge
		}
	}
	return loss[0], solve(h, g)
}

// logLoss is -log of the probability the logit z gives to what happened.
func logLoss(z float64, happened bool) float64 {
	if happened {
		z = -z
	}
	if z > 30 {
		return z
	}
	return math.Log1p(math.Exp(z))
}

// solve solves the symmetric positive definite system whose lower triangle is a, by Cholesky's method.
func solve(a, b []float64) []float64 {
	d := len(b)
	for j := range d {
		for k := range j {
			f := a[j*d+k]
			if f == 0 {
				continue
			}
			for i := j; i < d; i++ {
				a[i*d+j] -= f * a[i*d+k]
			}
		}
		s := math.Sqrt(math.Max(a[j*d+j], 1e-12))
		for i := j; i < d; i++ {
			a[i*d+j] /= s
		}
	}
	x := append([]float64(nil), b...)
	for i := range d {
		for k := range i {
			x[i] -= a[i*d+k] * x[k]
		}
		x[i] /= a[i*d+i]
	}
	for i := d - 1; i >= 0; i-- {
		for k := i + 1; k < d; k++ {
			x[i] -= a[k*d+i] * x[k]
		}
		x[i] /= a[i*d+i]
	}
	return x
}
