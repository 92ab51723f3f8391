package linkfault

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hearthline/hearthline/cloud/predict/learn"
	"github.com/hearthline/hearthline/protocol/risk"
)

// fit makes a model of a sample. Its calibration comes from predictions for devices the parts had not seen.
func (r recipe) fit(name string, in *risk.Input, horizon int64, s *sample, seed uint64) (*risk.Model, error) {
	if len(s.y) == 0 {
		return nil, fmt.Errorf("no report before the site's date has a usable label")
	}
	cols := columnsOf{chosen(in, r.see), chosen(in, r.linear)}
	bins := learn.NewBins(&s.m)
	parts, err := r.ingredients(s, bins, cols, nil, seed)
	if err != nil {
		return nil, err
	}
	m := &risk.Model{Name: name, Version: 1, Horizon: float64(horizon), Input: *in, Parts: parts, Raise: 0.5, Clear: 0.25, Own: r.own}
	if m.Calibration, err = r.calibrate(s, bins, cols, seed); err != nil {
		return nil, err
	}
	return m, m.Compile()
}

type columnsOf struct{ trees, linear []int }

func chosen(in *risk.Input, see func(string) bool) []int {
	var cols []int
	for i := range in.Features {
		if see(in.FeatureName(i)) {
			cols = append(cols, i)
		}
	}
	return cols
}

// ingredients fits every part of the recipe to the given rows (nil: all).
func (r recipe) ingredients(s *sample, bins *learn.Bins, cols columnsOf, rows []int32, seed uint64) ([]risk.Part, error) {
	set := &learn.Set{Bins: bins, Y: s.y, Block: s.block, Rows: rows}
	var out []risk.Part
	for _, g := range r.parts {
		p := risk.Part{Weight: g.weight}
		switch {
		case g.logistic != nil:
			o := *g.logistic
			o.Only = cols.linear
			l, err := o.Fit(&s.m, s.y, nil, rows)
			if err != nil {
				return nil, err
			}
			p.Linear = l
		case g.bag != nil:
			o := *g.bag
			o.Only, o.Seed = cols.trees, seed
			p.Forest = learn.Bag(set, o)
		default:
			o := *g.boost
			o.Only, o.Seed = cols.trees, seed
			p.Forest = learn.Boost(set, o)
		}
		out = append(out, p)
	}
	return out, nil
}

// calibrate predicts each third of the devices by models of the other two and fits a line to the logits of
// the moments the model is meant for.
func (r recipe) calibrate(s *sample, bins *learn.Bins, cols columnsOf, seed uint64) (risk.Calibration, error) {
	const folds = 3
	fold := deal(s, folds)
	var z []float64
	var y []float32
	for f := range folds {
		var rows []int32
		pos, n := float32(0), 0
		for i, d := range s.dev {
			if fold[d] != f {
				rows = append(rows, int32(i))
				pos += s.y[i]
				n++
			}
		}
		if n == len(s.y) || pos == 0 || pos == float32(n) {
			continue // a single device, or one class without this third: nothing to learn from here
		}
		parts, err := r.ingredients(s, bins, cols, rows, seed)
		if err != nil {
			return risk.Calibration{}, err
		}
		m := &risk.Model{Parts: parts}
		for i, d := range s.dev {
			if fold[d] == f && (s.meant == nil || s.meant[i]) {
				z = append(z, m.Logit(s.m.Row(i)))
				y = append(y, s.y[i])
			}
		}
	}
	if len(z) == 0 {
		return risk.Calibration{}, nil // the model's own word stands
	}
	slope, offset := learn.Platt(z, y, nil, 50)
	return risk.Calibration{Slope: slope, Offset: offset}, nil
}

// deal spreads the devices of a sample over folds so that each gets devices of every rate of faults.
func deal(s *sample, folds int) map[int]int {
	type rate struct {
		dev  int
		y, n float64
	}
	by := map[int]*rate{}
	var all []*rate
	for i, d := range s.dev {
		if by[d] == nil {
			by[d] = &rate{dev: d}
			all = append(all, by[d])
		}
		by[d].y += float64(s.y[i])
		by[d].n++
	}
	slices.SortStableFunc(all, func(a, b *rate) int { return cmp.Compare(a.y/a.n, b.y/b.n) })
	out := map[int]int{}
	for i, r := range all {
		out[r.dev] = i % folds
	}
	return out
}

// follow predicts every report of a device in order of time, correcting the model by what became known of its own
// earlier predictions, and never by anything later.
func follow(m *risk.Model, t task, d *device, feats *learn.Matrix, up siteUp) []float64 {
	base, out := make([]float64, len(d.reports)), make([]float64, len(d.reports))
	k := m.NewLink()
	share := float64(bin) / float64(t.horizon)
	next := 0
	for i := range d.reports {
		now := d.reports[i].ts
		for ; next < i && d.reports[next].ts+t.horizon <= now; next++ {
			if !t.asked(&d.reports[next]) {
				continue
			}
			if y, ok := d.label(up, d.reports[next].ts, t.horizon, now); ok {
				m.Learn(k, float64(now), base[next], y, share)
			}
		}
		base[i] = m.Probability(feats.Row(i))
		out[i] = m.Corrected(k, float64(now), base[i])
	}
	return out
}
