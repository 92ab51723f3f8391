package risk

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

// dice is splitmix64: a generator whose numbers are the same on every processor.
type dice uint64

func (d *dice) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (d *dice) unit() float64 { return float64(d.next()>>11) * 0x1p-53 }

// sampleModel has every kind of track, form and part in it.
func sampleModel(t testing.TB) *Model {
	t.Helper()
	in := Input{Signals: []Signal{
		{Name: "loss", Metrics: []string{"gateway.loss_ratio", "wan.*"}, Lo: 0, Hi: 1},
		{Name: "rtt", Metrics: []string{"rtt.*"}, Fold: FoldMin, Lo: 0, Hi: 1e4},
		{Name: "fault"},
		{Name: "retransmits", Fold: FoldSum, Rate: true},
	}}
	for _, s := range []string{"loss", "rtt", "fault", "retransmits"} {
		last := in.Track(s, Last, 0, 0)
		base := in.Track(s, Base, 3600, 0)
		mean := in.Track(s, Mean, 60, 0)
		in.Add(Feature{Form: Plain, A: last})
		in.Add(Feature{Form: Spread, A: base})
		in.Add(Feature{Form: Sigma, A: mean, B: base, Floor: 0.01})
		in.Add(Feature{Form: Minus, A: mean, B: base})
		in.Add(Feature{Form: Ratio, A: mean, B: base, Floor: 0.1})
		in.Add(Feature{Form: Plain, A: in.Track(s, Low, 300, 0)})
		in.Add(Feature{Form: Plain, A: in.Track(s, High, 300, 0)})
		in.Add(Feature{Form: Log, A: in.Track(s, Count, 600, 0)})
		in.Add(Feature{Form: Plain, A: in.Track(s, Least, 300, 0)})
		in.Add(Feature{Form: Excess, A: in.Track(s, Count, 600, 0), B: in.Track("fault", Count, 900, 0), Floor: 0.5})
		in.Add(Feature{Form: Log, A: in.Track(s, Since, 0, 0.5)})
		in.Add(Feature{Form: Plain, A: in.Track(s, Quiet, 0, 0)})
		in.Add(Feature{Form: Log, A: in.Track(s, Age, 0, 0)})
	}
	n := len(in.Features)
	d := dice(7)
	lin := &Linear{Bias: -2}
	for i := range n {
		lin.Terms = append(lin.Terms, Term{Feature: uint16(i), Center: d.unit(), Scale: 0.5 + d.unit(), Clip: 4, Weight: d.unit() - 0.4, Missing: mul(0.1, d.unit())})
	}
	boost, bag := &Forest{Bias: -1}, &Forest{Average: true}
	for range 60 {
		boost.Trees = append(boost.Trees, randomTree(&d, n, 5, -0.1, 0.15))
		bag.Trees = append(bag.Trees, randomTree(&d, n, 6, 0, 0.5))
	}
	m := &Model{
		Name: "sample", Version: 3, Horizon: 3600, Input: in,
		Parts:       []Part{{Weight: 0.3, Linear: lin}, {Weight: 0.4, Forest: boost}, {Weight: 0.3, Forest: bag}},
		Calibration: Calibration{Slope: 1.1, Offset: -0.2, X: []float64{-6, -3, 0, 3}, P: []float64{0.001, 0.04, 0.4, 0.97}},
		Abstention:  Abstention{MinAge: 30, MinPresent: 0.2},
		Raise:       0.3, Clear: 0.15,
		Own: OwnPast{Prior: 1.5, Tau: 3600},
	}
	if err := m.Compile(); err != nil {
		t.Fatal(err)
	}
	return m
}

func randomTree(d *dice, features, depth int, lo, hi float64) Tree {
	var t Tree
	var grow func(depth int)
	grow = func(depth int) {
		at := len(t)
		t = append(t, Node{Feature: Leaf, Value: float32(lo + mul(hi-lo, d.unit()))})
		if depth == 0 || depth < 3 && d.unit() < 0.2 {
			return
		}
		t[at].Feature, t[at].Threshold, t[at].MissingLeft = uint16(d.next()%uint64(features)), float32(mul(2, d.unit())-0.3), d.unit() < 0.5
		grow(depth - 1)
		t[at].Right = uint16(len(t))
		grow(depth - 1)
	}
	grow(depth)
	return t
}

func TestAModelSurvivesTheWire(t *testing.T) {
	m := sampleModel(t)
	b, err := Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > MaxModelBytes {
		t.Fatalf("the sample model takes %d bytes", len(b))
	}
	back, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Encode(back)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, again) {
		t.Fatal("encoding is not stable")
	}
	x := make([]float32, len(m.Input.Features))
	d := dice(1)
	for range 1000 {
		for i := range x {
			if x[i] = float32(mul(4, d.unit()) - 1); d.unit() < 0.1 {
				x[i] = nan32
			}
		}
		if p, q := m.Probability(x), back.Probability(x); p != q {
			t.Fatalf("decoded model says %v, original %v", q, p)
		}
		if s := NewScorer(m).Features(x); s.Probability != m.Probability(x) {
			t.Fatalf("with reasons %v, without %v", s.Probability, m.Probability(x))
		}
	}
}

func TestAMalformedModelIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(m *Model){
		"no parts":                    func(m *Model) { m.Parts = nil },
		"a part that is nothing":      func(m *Model) { m.Parts[0].Linear = nil },
		"a term beyond the features":  func(m *Model) { m.Parts[0].Linear.Terms[0].Feature = 999 },
		"a scale of zero":             func(m *Model) { m.Parts[0].Linear.Terms[0].Scale = 0 },
		"a tree that walks in a ring": func(m *Model) { m.Parts[1].Forest.Trees[0][0].Right = 0 },
		"a tree that leaves itself":   func(m *Model) { m.Parts[1].Forest.Trees[0][0].Right = 60000 },
		"a tree with a NaN":           func(m *Model) { m.Parts[1].Forest.Trees[0][0].Value = nan32 },
		"a falling calibration":       func(m *Model) { m.Calibration.P[1] = 0 },
		"an infinite bias":            func(m *Model) { m.Bias = math.Inf(1) },
		"thresholds the wrong way":    func(m *Model) { m.Clear = 0.9 },
		"a track without a signal":    func(m *Model) { m.Input.Tracks[0].Signal = 60 },
		"a signal named twice":        func(m *Model) { m.Input.Signals[1].Name = "loss" },
		"a feature without a floor":   func(m *Model) { m.Input.Features[2].Floor = 0 },
		"a spread of a last value":    func(m *Model) { m.Input.Features[1].A = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			m := sampleModel(t)
			spoil(m)
			b, err := Encode(m)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Decode(b); !errors.Is(err, ErrModel) {
				t.Fatalf("decoded, err = %v", err)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	b, err := Encode(sampleModel(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xa2, 0, 1, 1, 0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Decode(b)
		if err != nil {
			return
		}
		x := make([]float32, len(m.Input.Features))
		for i := range x {
			x[i] = nan32
		}
		_ = NewScorer(m).Features(x) // must neither panic nor hang
	})
}

func FuzzRestore(f *testing.F) {
	m := sampleModel(f)
	k := m.NewLink()
	m.Put(k, 0, 10, 0.5)
	b, err := m.Export(k, 20)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := m.Restore(b, 100)
		if err != nil {
			return
		}
		_ = NewScorer(m).Score(k, 101)
	})
}
