package learn

import (
	"errors"
	"math"
	"runtime"
	"testing"

	"github.com/hearthline/hearthline/protocol/risk"
)

// world makes rows of three features: the risk follows the given truth on the first two, the third is noise.
func world(n int, seed uint64, truth func(x []float32) float64) (*Matrix, []float32) {
	d := newDice(seed, 0)
	m := &Matrix{Cols: 3}
	y := make([]float32, n)
	for i := range n {
		x := []float32{float32(2*d.unit() - 1), float32(2*d.unit() - 1), float32(2*d.unit() - 1)}
		if d.unit() < truth(x) {
			y[i] = 1
		}
		if i%10 == 0 {
			x[1] = float32(math.NaN())
		}
		m.Append(x)
	}
	return m, y
}

// cost is the mean log loss of a part on fresh rows, in excess of that of the truth itself.
func cost(p risk.Part, truth func(x []float32) float64) float64 {
	d := newDice(99, 0)
	sum := 0.0
	const n = 4000
	for range n {
		x := []float32{float32(2*d.unit() - 1), float32(2*d.unit() - 1), float32(2*d.unit() - 1)}
		q, hat := truth(x), sigmoid(p.Logit(x))
		sum += q*math.Log(q/hat) + (1-q)*math.Log((1-q)/(1-hat))
	}
	return sum / n
}

func TestEveryLearnerFindsTheTruthItCanExpress(t *testing.T) {
	straight := func(x []float32) float64 { return sigmoid(2*float64(x[0]) - float64(x[1])) }
	crossed := func(x []float32) float64 { // no straight line can see this
		if (x[0] > 0) == (x[1] > 0.2) {
			return 0.8
		}
		return 0.1
	}
	learners := map[string]func(m *Matrix, y []float32) risk.Part{
		"logistic": func(m *Matrix, y []float32) risk.Part {
			l, err := Logistic{}.Fit(m, y, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			return risk.Part{Linear: l}
		},
		"boosted": func(m *Matrix, y []float32) risk.Part {
			return risk.Part{Forest: Boost(&Set{Bins: NewBins(m), Y: y}, Trees{Columns: 1, Seed: 1})}
		},
		"forest": func(m *Matrix, y []float32) risk.Part {
			return risk.Part{Forest: Bag(&Set{Bins: NewBins(m), Y: y}, Trees{Columns: 0.7, Seed: 1})}
		},
		"extra trees": func(m *Matrix, y []float32) risk.Part {
			return risk.Part{Forest: Bag(&Set{Bins: NewBins(m), Y: y}, Trees{Columns: 1, Random: true, Seed: 1})}
		},
	}
	for name, fit := range learners {
		t.Run(name, func(t *testing.T) {
			m, y := world(6000, 1, straight)
			if c := cost(fit(m, y), straight); c > 0.02 {
				t.Errorf("straight truth: %.4f nats worse than the truth", c)
			}
			m, y = world(6000, 2, crossed)
			c := cost(fit(m, y), crossed)
			if name == "logistic" {
				if c < 0.1 {
					t.Errorf("a logistic cannot see a crossed truth, yet it is only %.4f nats worse", c)
				}
			} else if c > 0.03 {
				t.Errorf("crossed truth: %.4f nats worse than the truth", c)
			}
		})
	}
}

func TestTheSameSeedGrowsTheSameTreesOnAnyNumberOfProcessors(t *testing.T) {
	m, y := world(2000, 3, func(x []float32) float64 { return sigmoid(float64(x[0])) })
	build := func(procs int, seed uint64) string {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		lin, err := Logistic{}.Fit(m, y, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		s := &Set{Bins: NewBins(m), Y: y}
		b, err := risk.Encode(&risk.Model{Parts: []risk.Part{
			{Linear: lin},
			{Forest: Bag(s, Trees{Count: 20, Seed: seed})},
			{Forest: Boost(s, Trees{Count: 20, Seed: seed})},
		}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if build(1, 1) != build(4, 1) {
		t.Error("one processor and four grew different models")
	}
	if build(1, 1) == build(1, 2) {
		t.Error("the seed changes nothing")
	}
}

func TestATreeAnswersBinnedAndRawRowsAlike(t *testing.T) {
	m, y := world(3000, 4, func(x []float32) float64 { return sigmoid(3 * float64(x[0]*x[1])) })
	b := NewBins(m)
	f := Boost(&Set{Bins: b, Y: y}, Trees{Count: 10, Depth: 6, Columns: 1})
	for i := range m.Rows() {
		for k, tree := range f.Trees {
			one := risk.Part{Forest: &risk.Forest{Trees: []risk.Tree{tree}}}
			if got, want := float64(b.answer(tree, int32(i))), one.Logit(m.Row(i)); got != want {
				t.Fatalf("row %d tree %d: %v on bins, %v on values", i, k, got, want)
			}
		}
	}
}

func TestMonotoneTreesNeverFall(t *testing.T) {
	m, y := world(3000, 5, func(x []float32) float64 { return sigmoid(3 * math.Sin(4*float64(x[0]))) })
	f := Boost(&Set{Bins: NewBins(m), Y: y}, Trees{Count: 60, Columns: 1, Monotone: []int8{1, 0, 0}, Only: []int{0}})
	p := risk.Part{Forest: f}
	last := math.Inf(-1)
	for x := float32(-1); x < 1; x += 0.01 {
		z := p.Logit([]float32{x, 0, 0})
		if z < last-1e-6 {
			t.Fatalf("the risk falls at %v", x)
		}
		last = z
	}
}

func TestOneClassIsRefused(t *testing.T) {
	m, y := world(100, 6, func([]float32) float64 { return 0 })
	if _, err := (Logistic{}).Fit(m, y, nil, nil); !errors.Is(err, ErrOneClass) {
		t.Fatalf("err = %v", err)
	}
}

func TestCalibrationUndoesAKnownDistortion(t *testing.T) {
	d := newDice(8, 0)
	var z []float64
	var y []float32
	for range 20000 {
		v := 6*d.unit() - 4
		z = append(z, v)
		if d.unit() < sigmoid(0.5*v-1) {
			y = append(y, 1)
		} else {
			y = append(y, 0)
		}
	}
	slope, offset := Platt(z, y, nil, 1)
	if math.Abs(slope-0.5) > 0.05 || math.Abs(offset+1) > 0.1 {
		t.Errorf("Platt found slope %.3f and offset %.3f, want 0.5 and -1", slope, offset)
	}
}
