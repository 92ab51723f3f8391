package learn

import (
	"math"

	"github.com/hearthline/hearthline/protocol/risk"
)

// Set is what there is to learn from. Y is 0 or 1; W are weights (nil: all 1); Block numbers runs of rows that
// belong together (a device's week), which bagging draws as a whole since neighbours in time say the same.
type Set struct {
	Bins  *Bins
	Y     []float32
	W     []float32
	Block []int32
	Rows  []int32 // the rows to learn from; nil means all
}

func (s *Set) rows() []int32 {
	if s.Rows != nil {
		return s.Rows
	}
	r := make([]int32, s.Bins.rows)
	for i := range r {
		r[i] = int32(i)
	}
	return r
}

func (s *Set) weight(i int32) float32 {
	if s.W == nil {
		return 1
	}
	return s.W[i]
}

// Trees configures Boost and Bag. Zero values take the defaults in brackets.
type Trees struct {
	Count     int     // number of trees [200]
	Depth     int     // levels of splits [Boost 4, Bag 10]
	Rate      float64 // Boost: learning rate [0.05]
	MinWeight float64 // smallest leaf: rows for Bag [20], hessian for Boost [5]
	Lambda    float64 // Boost: ridge on leaf values [5]
	Columns   float64 // share of the features tried: Boost per tree [0.5], Bag per node [square root of their number]
	Sample    float64 // share of the blocks each tree sees [Boost 0.5, Bag 0.632]
	Random    bool    // Bag: extra trees, random thresholds
	Only      []int   // use only these features; nil means all
	Seed      uint64
	Monotone  []int8 // per feature: +1 the risk may only rise with it, -1 only fall; nil means free
}

func def[T int | float64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

func columns(s *Set, only []int) []int {
	if only != nil {
		return only
	}
	all := make([]int, s.Bins.cols)
	for i := range all {
		all[i] = i
	}
	return all
}

// drawn returns the rows whose block the dice pick.
func drawn(s *Set, rows []int32, share float64, seed uint64, tree int) []int32 {
	out := make([]int32, 0, int(float64(len(rows))*share)+64)
	for _, r := range rows {
		key := uint64(r)
		if s.Block != nil {
			key = uint64(s.Block[r])
		}
		d := dice(seed ^ key*0x9e3779b97f4a7c15 ^ uint64(tree)*0xd1342543de82ef95)
		if d.next(); d.unit() < share {
			out = append(out, r)
		}
	}
	return out
}

// Boost fits gradient-boosted trees for the logistic loss.
func Boost(s *Set, o Trees) *risk.Forest {
	def(&o.Count, 200)
	def(&o.Depth, 4)
	def(&o.Rate, 0.05)
	def(&o.MinWeight, 5)
	def(&o.Lambda, 5)
	def(&o.Columns, 0.5)
	def(&o.Sample, 0.5)
	rows, cols := s.rows(), columns(s, o.Only)
	pos, all := 0.0, 0.0
	for _, r := range rows {
		pos += float64(s.weight(r) * s.Y[r])
		all += float64(s.weight(r))
	}
	f := &risk.Forest{Bias: risk.Logit((pos + 0.5) / (all + 1))}
	n := s.Bins.rows
	z, g, h := make([]float64, n), make([]float32, n), make([]float32, n)
	for _, r := range rows {
		z[r] = f.Bias
	}
	take := max(1, int(math.Round(o.Columns*float64(len(cols)))))
	for t := range o.Count {
		d := newDice(o.Seed, t)
		for _, r := range rows {
			p := sigmoid(z[r])
			w := float64(s.weight(r))
			g[r], h[r] = float32(w*(p-float64(s.Y[r]))), float32(w*p*(1-p))
		}
		mine := append([]int(nil), cols...)
		for k := range take {
			j := k + d.below(len(mine)-k)
			mine[k], mine[j] = mine[j], mine[k]
		}
		tree := grow(s.Bins, g, h, drawn(s, rows, o.Sample, o.Seed, t), mine[:take], growth{
			depth: o.Depth, minWeight: o.MinWeight, lambda: o.Lambda, perNode: take, scale: float32(o.Rate), monotone: o.Monotone,
		}, d)
		f.Trees = append(f.Trees, tree)
		for _, r := range rows {
			z[r] += float64(s.Bins.answer(tree, r))
		}
	}
	return f
}

// answer walks a tree on a binned row.
func (b *Bins) answer(t risk.Tree, row int32) float32 {
	i := 0
	for t[i].Feature != risk.Leaf {
		n := &t[i]
		c := int(n.Feature)
		bin := b.bin[c*b.rows+int(row)]
		left := n.MissingLeft
		if bin != 0 {
			// The threshold is an edge, so the value is below it exactly when its bin's lower edge is.
			left = bin == 1 || b.edge[c][bin-2] < n.Threshold
		}
		if left {
			i++
		} else {
			i = int(n.Right)
		}
	}
	return t[i].Value
}

// Bag fits a random forest, or extra trees, whose mean leaf is a probability.
func Bag(s *Set, o Trees) *risk.Forest {
	rows, cols := s.rows(), columns(s, o.Only)
	def(&o.Count, 200)
	def(&o.Depth, 10)
	def(&o.MinWeight, 20)
	def(&o.Columns, math.Sqrt(float64(len(cols)))/float64(len(cols)))
	def(&o.Sample, 0.632)
	n := s.Bins.rows
	g, h := make([]float32, n), make([]float32, n)
	for _, r := range rows {
		h[r] = s.weight(r)
		g[r] = -h[r] * s.Y[r]
	}
	f := &risk.Forest{Average: true, Trees: make([]risk.Tree, o.Count)}
	take := max(1, int(math.Round(o.Columns*float64(len(cols)))))
	parallel(o.Count, func(t int) {
		f.Trees[t] = grow(s.Bins, g, h, drawn(s, rows, o.Sample, o.Seed, t), cols, growth{
			depth: o.Depth, minWeight: o.MinWeight, lambda: 1e-9, perNode: take, random: o.Random, scale: 1,
		}, newDice(o.Seed, t))
	})
	return f
}
