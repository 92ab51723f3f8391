package risk

import (
	"math"
	"testing"
)

// one returns a layout of one signal "s" and the given tracks, each a plain feature.
func one(t *testing.T, tracks ...Track) *Layout {
	t.Helper()
	in := &Input{Signals: []Signal{{Name: "s"}}, Tracks: tracks}
	for i := range tracks {
		in.Add(Feature{Form: Plain, A: uint16(i)})
	}
	l, err := NewLayout(in)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestATrackRemembersWhatItSays(t *testing.T) {
	e := math.E
	for _, c := range []struct {
		name  string
		track Track
		puts  [][2]float64 // time, value
		at    float64
		want  float64
	}{
		{"last is the latest value", Track{Kind: Last}, [][2]float64{{0, 4}, {1, 7}}, 5, 7},
		{"a NaN is no value", Track{Kind: Last}, [][2]float64{{0, 4}, {1, math.NaN()}}, 5, 4},
		{"an infinity is no value", Track{Kind: Last}, [][2]float64{{0, 4}, {1, math.Inf(1)}}, 5, 4},
		{"a young mean is the plain mean", Track{Kind: Mean, Tau: 1e9}, [][2]float64{{0, 1}, {1, 2}, {2, 6}}, 2, 3},
		{"an old mean fades with tau", Track{Kind: Mean, Tau: 0.1}, [][2]float64{{0, 8}, {100, 2}}, 100, 2},
		{"low keeps a recent minimum", Track{Kind: Low, Tau: 10}, [][2]float64{{0, 1}, {1e-9, 0}, {10, 1}}, 10, 1 - 1/e},
		{"high keeps a recent maximum", Track{Kind: High, Tau: 10}, [][2]float64{{0, 5}, {10, 0}}, 10, 5 / e},
		{"a count fades with tau", Track{Kind: Count, Tau: 10}, [][2]float64{{0, 1}, {10, 1}}, 20, (1/e + 1) / e},
		{"since counts from the event", Track{Kind: Since, At: 1}, [][2]float64{{0, 0}, {3, 1}, {5, 0}}, 11, 8},
		{"since is missing before any event", Track{Kind: Since, At: 1}, [][2]float64{{0, 0}}, 11, math.NaN()},
		{"since with a limit is the limit when it never was", Track{Kind: Since, At: 1, Tau: 7}, [][2]float64{{0, 0}}, 11, 7},
		{"since does not exceed its limit", Track{Kind: Since, At: 1, Tau: 7}, [][2]float64{{0, 0}, {3, 1}}, 11, 7},
		{"quiet is the silence", Track{Kind: Quiet}, [][2]float64{{0, 0}, {3, 1}}, 11, 8},
		{"age is since the first value", Track{Kind: Age}, [][2]float64{{2, 0}, {3, 1}}, 11, 9},
		{"least keeps the minimum of its window", Track{Kind: Least, Tau: 80}, [][2]float64{{5, 3}, {45, 1}, {85, 2}, {120, 4}}, 124, 1},
		{"least forgets what is older than its window", Track{Kind: Least, Tau: 80}, [][2]float64{{5, 3}, {45, 1}, {85, 2}, {135, 4}}, 135, 2},
		{"least forgets also while nothing is heard", Track{Kind: Least, Tau: 80}, [][2]float64{{5, 1}, {40, 2}}, 100, 2},
		{"least is missing when the window is empty", Track{Kind: Least, Tau: 80}, [][2]float64{{5, 1}}, 1000, math.NaN()},
		{"nothing heard is missing", Track{Kind: Quiet}, nil, 11, math.NaN()},
		{"a clock that runs backwards stands still", Track{Kind: Count, Tau: 10}, [][2]float64{{5, 1}, {0, 1}}, 5, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := one(t, c.track)
			k := l.NewLink()
			for _, p := range c.puts {
				l.Put(k, 0, p[0], p[1])
			}
			x := make([]float32, 1)
			l.Features(k, c.at, x)
			if got := float64(x[0]); math.Abs(got-c.want) > 1e-6 || math.IsNaN(got) != math.IsNaN(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestABaselineIsNotMovedByAShortFault(t *testing.T) {
	l := one(t, Track{Kind: Base, Tau: 600}, Track{Kind: Mean, Tau: 600})
	k := l.NewLink()
	d := dice(3)
	at := 0.0
	for ; at < 3600; at++ {
		l.Put(k, 0, at, 10+d.unit())
	}
	for range 30 {
		l.Put(k, 0, at, 1000)
		at++
	}
	x := make([]float32, 2)
	l.Features(k, at, x)
	if x[0] > 12 || x[1] < 40 {
		t.Fatalf("after a fault of 30 s the baseline is %.1f (want near 10.5), the mean %.1f (want far off)", x[0], x[1])
	}
}

func TestSignalsStayWithinTheirBounds(t *testing.T) {
	in := &Input{Signals: []Signal{{Name: "loss", Lo: 0, Hi: 1}}}
	in.Add(Feature{Form: Plain, A: in.Track("loss", Last, 0, 0)})
	l, err := NewLayout(in)
	if err != nil {
		t.Fatal(err)
	}
	k := l.NewLink()
	x := make([]float32, 1)
	for v, want := range map[float64]float32{-5: 0, 0.3: 0.3, 88: 1} {
		l.Put(k, 0, 1, v)
		if l.Features(k, 1, x); x[0] != want {
			t.Errorf("%v became %v, want %v", v, x[0], want)
		}
	}
}

func TestOwnExpAndLogAreExactToTheLastPlaces(t *testing.T) {
	d := dice(5)
	for range 100000 {
		x := 1400*d.unit() - 700
		if got, want := exp(x), math.Exp(x); math.Abs(got-want) > 4e-15*want {
			t.Fatalf("exp(%v) = %v, want %v", x, got, want)
		}
		y := math.Exp(x / 2)
		if got, want := log(y), math.Log(y); math.Abs(got-want) > 4e-15*math.Max(1, math.Abs(want)) {
			t.Fatalf("log(%v) = %v, want %v", y, got, want)
		}
	}
	for _, p := range []float64{1e-6, 0.01, 0.5, 0.9999} {
		if got := sigmoid(Logit(p)); math.Abs(got-p) > 1e-12 {
			t.Errorf("sigmoid(logit(%v)) = %v", p, got)
		}
	}
}

func TestALinksOwnPastMovesItsRiskAndFadesAgain(t *testing.T) {
	m := sampleModel(t)
	k, s := m.NewLink(), NewScorer(m)
	m.Put(k, 0, 0, 0.1)
	if r := s.Score(k, 1); r.Probability != r.Base {
		t.Fatalf("without a past %v becomes %v", r.Base, r.Probability)
	}
	for i := range 10 {
		m.Learn(k, float64(i), 0.1, true, 1) // ten faults where one was expected
	}
	after := s.Score(k, 10)
	odds := after.Probability / (1 - after.Probability) * (1 - after.Base) / after.Base
	if math.Abs(odds-(10+1.5)/(1+1.5)) > 0.05 {
		t.Fatalf("the odds grew %.2f times, want (10+1.5)/(1+1.5)", odds)
	}
	b, err := m.Export(k, 20)
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.Restore(b, 5020)
	if err != nil {
		t.Fatal(err)
	}
	if p, q := s.Score(k, 30), s.Score(again, 5030); p.Probability != q.Probability {
		t.Fatalf("restored %v, was %v", q.Probability, p.Probability)
	}
	if late := s.Score(k, 50*3600); late.Probability-late.Base > 1e-9 {
		t.Fatalf("fifty time constants later the past still counts: %v, base %v", late.Probability, late.Base)
	}
}
