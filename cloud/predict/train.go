package predict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hearthline/hearthline/cloud/predict/learn"
	"github.com/hearthline/hearthline/protocol/risk"
)

// Plan says what to train. Name, Horizon and Input are required.
type Plan struct {
	Name    string
	Version uint64
	About   string // what it is fitted on, for people
	Horizon float64
	Input   risk.Input
	// Warmup is for how many seconds a history only teaches what is usual; 0 means none.
	Warmup float64
	// Every is how many seconds lie at least between two moments that are learned from; 0 takes every sample.
	Every float64
	// Settle is for how many seconds after a fault nothing is learned: it is over, but its traces are not.
	Settle float64
	// Trees adds a small boosted ensemble to the logistic. It costs about 60 kB in the model.
	Trees  bool
	Folds  int     // of the cross-validation over homes; 0 means 4
	Ridge  float64 // of the logistic; 0 means 0.01
	MinAge float64 // seconds a device must have been heard before the model speaks
	Seed   uint64
}

// Trained is a model and what the cross-validation says of it.
type Trained struct {
	Model   *risk.Model
	Quality Quality // on homes that the judged model had not seen
	Devices int
	Homes   int
}

// ErrTooLittle is returned when there is not enough to learn from: no fault, nothing but faults, or one home.
var ErrTooLittle = errors.New("too little to learn from")

// Train fits a model to all histories of a source. A moment counts as followed by a fault when one lies within the
// horizon after it, or is there already. Calibration and quality come from models of other homes.
func Train(ctx context.Context, src Source, p Plan) (*Trained, error) {
	if p.Folds == 0 {
		p.Folds = 4
	}
	if p.Ridge == 0 {
		p.Ridge = 0.01
	}
	s, err := p.gather(ctx, src)
	if err != nil {
		return nil, err
	}
	if err := s.enough(); err != nil {
		return nil, err
	}
	m := &risk.Model{
		Name: p.Name, Version: p.Version, About: p.About, Horizon: p.Horizon, Input: p.Input,
		Abstention: s.ranges(), Raise: 1,
	}
	m.Abstention.MinAge = p.MinAge
	if m.Parts, err = p.fit(s, nil); err != nil {
		return nil, err
	}
	z, y, err := p.outOfHome(s)
	if err != nil {
		return nil, err
	}
	m.Calibration.Slope, m.Calibration.Offset = learn.Platt(z, y, nil, 10)
	q := make([]Outcome, len(z))
	for i := range z {
		q[i] = Outcome{m.Calibration.Apply(z[i]), y[i] > 0}
	}
	m.Raise, m.Clear = thresholds(q)
	t := &Trained{Model: m, Quality: Judge(q), Devices: s.devices, Homes: len(s.homes)}
	return t, m.Compile()
}

// rows are the moments learned from.
type rows struct {
	m       learn.Matrix
	y       []float32
	home    []int
	homes   map[string]int
	devices int
}

func (p *Plan) gather(ctx context.Context, src Source) (*rows, error) {
	m := &risk.Model{Name: p.Name, Horizon: p.Horizon, Input: p.Input, Raise: 1, Parts: []risk.Part{{Linear: &risk.Linear{}}}}
	if err := m.Compile(); err != nil {
		return nil, err
	}
	s := &rows{m: learn.Matrix{Cols: len(p.Input.Features)}, homes: map[string]int{}}
	x := make([]float32, s.m.Cols)
	for h, err := range src.Histories(ctx) {
		if err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		home, ok := s.homes[h.Home]
		if !ok {
			home = len(s.homes)
			s.homes[h.Home] = home
		}
		s.devices++
		if err := p.follow(m, h, func(o *risk.Observer, fault bool) {
			o.Features(x)
			s.m.Append(x)
			s.y = append(s.y, number(fault))
			s.home = append(s.home, home)
		}); err != nil {
			return nil, fmt.Errorf("history of device %s: %w", h.Device, err)
		}
	}
	return s, nil
}

// follow plays a history and calls take at each moment to learn from.
func (p *Plan) follow(m *risk.Model, h History, take func(o *risk.Observer, fault bool)) error {
	o := risk.NewObserver(m)
	var names []string
	var handles []int
	first, last, taken := math.NaN(), math.Inf(-1), math.Inf(-1)
	for s := range h.Samples {
		if s.At < last {
			return fmt.Errorf("sample at %.3f s after one at %.3f s: not in order of time", s.At, last)
		}
		if len(s.Metrics) != len(s.Values) {
			return fmt.Errorf("sample at %.3f s has %d metrics and %d values", s.At, len(s.Metrics), len(s.Values))
		}
		if len(names) != len(s.Metrics) || len(names) > 0 && &names[0] != &s.Metrics[0] {
			names, handles = s.Metrics, handles[:0]
			for _, n := range names {
				handles = append(handles, o.Bind(n))
			}
		}
		for i, v := range s.Values {
			o.Put(handles[i], v)
		}
		o.Take(s.At)
		last = s.At
		if first != first {
			first = s.At
		}
		if s.At-first < p.Warmup || s.At-taken < p.Every {
			continue
		}
		taken = s.At
		ahead, settling := false, false
		for _, f := range h.Faults {
			near := f.From <= s.At+p.Horizon && f.To >= s.At
			if f.Unclear {
				settling = settling || near || s.At > f.To && s.At <= f.To+p.Settle
				continue
			}
			ahead = ahead || near && s.At >= f.Onset
			settling = settling || s.At > f.To && s.At <= f.To+p.Settle
		}
		if ahead || !settling {
			take(o, ahead)
		}
	}
	return nil
}

func number(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

func (s *rows) enough() error {
	pos := 0
	for _, y := range s.y {
		pos += int(y)
	}
	switch {
	case len(s.y) == 0:
		return fmt.Errorf("%w: no samples", ErrTooLittle)
	case pos == 0:
		return fmt.Errorf("%w: %d moments of %d devices and no fault", ErrTooLittle, len(s.y), s.devices)
	case pos == len(s.y):
		return fmt.Errorf("%w: %d moments and all of them before or in a fault", ErrTooLittle, pos)
	case len(s.homes) < 2:
		return fmt.Errorf("%w: one home, which cannot show whether a model holds in another", ErrTooLittle)
	}
	return nil
}

func (p *Plan) fit(s *rows, only []int32) ([]risk.Part, error) {
	lin, err := learn.Logistic{Ridge: p.Ridge, Clip: 4}.Fit(&s.m, s.y, nil, only)
	if err != nil {
		return nil, err
	}
	parts := []risk.Part{{Weight: 1, Linear: lin}}
	if p.Trees {
		parts[0].Weight = 0.5
		set := &learn.Set{Bins: learn.NewBins(&s.m), Y: s.y, Rows: only}
		parts = append(parts, risk.Part{Weight: 0.5, Forest: learn.Boost(set, learn.Trees{
			Count: 150, Depth: 4, Rate: 0.05, MinWeight: 3, Columns: 0.4, Seed: p.Seed,
		})})
	}
	return parts, nil
}

// outOfHome predicts every home by a model of the others.
func (p *Plan) outOfHome(s *rows) (z []float64, y []float32, err error) {
	folds := min(p.Folds, len(s.homes))
	for f := range folds {
		var only []int32
		pos := float32(0)
		for i, h := range s.home {
			if h%folds != f {
				only = append(only, int32(i))
				pos += s.y[i]
			}
		}
		if pos == 0 || pos == float32(len(only)) {
			continue // the other homes know only one side
		}
		parts, err := p.fit(s, only)
		if err != nil {
			return nil, nil, err
		}
		m := risk.Model{Parts: parts}
		for i, h := range s.home {
			if h%folds == f {
				z = append(z, m.Logit(s.m.Row(i)))
				y = append(y, s.y[i])
			}
		}
	}
	if len(z) == 0 {
		return nil, nil, fmt.Errorf("%w: all faults are in one home", ErrTooLittle)
	}
	return z, y, nil
}

// ranges is what was seen of each feature; far beyond it the model has nothing to say.
func (s *rows) ranges() risk.Abstention {
	present := 0
	for _, v := range s.m.X {
		if v == v {
			present++
		}
	}
	// Half of what devices had in training is enough: no device has all signals.
	share := float64(present) / float64(max(1, len(s.m.X)))
	a := risk.Abstention{MinPresent: share / 2, MaxStrange: 0.5, Lo: make([]float32, s.m.Cols), Hi: make([]float32, s.m.Cols)}
	for c := range s.m.Cols {
		lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
		for i := range s.y {
			if v := s.m.X[i*s.m.Cols+c]; v == v {
				lo, hi = min(lo, v), max(hi, v)
			}
		}
		margin := 0.5*(hi-lo) + 1e-3
		if a.Lo[c], a.Hi[c] = lo-margin, hi+margin; lo > hi {
			// Never seen in training: any value is news, but not a strange one.
			a.Lo[c], a.Hi[c] = -math.MaxFloat32, math.MaxFloat32
		}
	}
	return a
}

// thresholds picks the probability to raise at by F0.5, which weighs a false alarm heavier than a fault that is seen
// late, and half of its odds to clear at.
func thresholds(ps []Outcome) (raise, clear float64) {
	sorted := slices.Clone(ps)
	slices.SortFunc(sorted, func(a, b Outcome) int { return cmp.Compare(b.P, a.P) })
	all := 0.0
	for _, p := range sorted {
		all += float64(number(p.Fault))
	}
	raise = 0.5
	hit, best := 0.0, -1.0
	for i, p := range sorted {
		hit += float64(number(p.Fault))
		if f := 1.25 * hit / (float64(i+1) + 0.25*all); f > best && (i+1 == len(sorted) || sorted[i+1].P < p.P) {
			best, raise = f, p.P
		}
	}
	raise = math.Max(0.05, math.Min(0.95, raise))
	odds := raise / (1 - raise) / 2
	return raise, odds / (1 + odds)
}
