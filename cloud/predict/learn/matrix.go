// Package learn fits the parts of a risk model: boosted trees, bagged trees (random forest, extra trees), a
// regularised logistic, and calibrations. Everything is deterministic for a seed, whatever the number of
// processors. Missing values are NaN and are learned from, not filled in.
//
// Trees are grown on binned features (LightGBM, Ke et al. 2017) by second-order gain (XGBoost, Chen and Guestrin
// 2016); extra trees follow Geurts et al. 2006.
package learn

import (
	"math"
	"runtime"
	"slices"
	"sync"
)

// Matrix holds rows of features, row after row.
type Matrix struct {
	Cols int
	X    []float32 // NaN is missing
}

// Rows is the number of rows.
func (m *Matrix) Rows() int {
	if m.Cols == 0 {
		return 0
	}
	return len(m.X) / m.Cols
}

// Row returns row i, which shares memory with the matrix.
func (m *Matrix) Row(i int) []float32 { return m.X[i*m.Cols : (i+1)*m.Cols] }

// Append adds a row.
func (m *Matrix) Append(x []float32) { m.X = append(m.X, x...) }

const maxBins = 64 // besides bin 0, which holds the missing values

// Bins is a matrix cut into at most maxBins quantiles a column.
type Bins struct {
	rows, cols int
	bin        []uint8     // column after column
	edge       [][]float32 // edge[c][b] is the smallest value of bin b+2: the threshold between bins b+1 and b+2
}

// NewBins cuts every column at its quantiles.
func NewBins(m *Matrix) *Bins {
	n := m.Rows()
	b := &Bins{rows: n, cols: m.Cols, bin: make([]uint8, n*m.Cols), edge: make([][]float32, m.Cols)}
	parallel(m.Cols, func(c int) {
		sample := make([]float32, 0, n)
		for i := range n {
			if v := m.X[i*m.Cols+c]; v == v {
				sample = append(sample, v)
			}
		}
		slices.Sort(sample)
		b.edge[c] = edges(sample)
		for i := range n {
			b.bin[c*n+i] = binOf(b.edge[c], m.X[i*m.Cols+c])
		}
	})
	return b
}

// edges picks thresholds between distinct values of a sorted sample.
func edges(sorted []float32) []float32 {
	var out []float32
	if len(sorted) == 0 {
		return nil
	}
	for k := 1; k < maxBins; k++ {
		v := sorted[k*len(sorted)/maxBins]
		if v > sorted[0] && (len(out) == 0 || v > out[len(out)-1]) {
			out = append(out, v)
		}
	}
	return out
}

func binOf(edge []float32, v float32) uint8 {
	if v != v {
		return 0
	}
	lo, hi := 0, len(edge)
	for lo < hi {
		if mid := (lo + hi) / 2; v < edge[mid] {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return uint8(lo + 1)
}

// parallel runs f(0..n-1) on all processors and waits.
func parallel(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	var mu sync.Mutex
	next := 0
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				mu.Unlock()
				if i >= n {
					return
				}
				f(i)
			}
		})
	}
	wg.Wait()
}

// dice is a small generator (splitmix64), so that a seed means the same trees in every version of Go.
type dice uint64

func newDice(seed uint64, stream int) *dice {
	d := dice(seed*0x9e3779b97f4a7c15 ^ uint64(stream+1)*0xd1342543de82ef95)
	d.next()
	return &d
}

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (d *dice) unit() float64   { return float64(d.next()>>11) * 0x1p-53 }
func (d *dice) below(n int) int { return int(d.next() % uint64(n)) }

func sigmoid(z float64) float64 { return 1 / (1 + math.Exp(-z)) }
