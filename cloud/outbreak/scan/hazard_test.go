package scan

import (
	"math"
	"testing"
)

func TestEmissionsAreProbabilities(t *testing.T) {
	for _, binary := range []bool{false, true} {
		h := hazard{binary: binary, mean: 0.1}
		for j := range h.rate {
			h.rate[j] = 0.001 * math.Pow(3, float64(j))
		}
		for _, s := range append([]shift{healthy}, func() []shift { s := h.shifts(); return s[:] }()...) {
			var e emission
			h.emit(&e, s, 1.3, step{0.5, 0.01})
			for j := range h.rate {
				sum := 0.0
				for y := range e {
					if binary && y > 1 {
						break
					}
					sum += e[y][j]
				}
				if math.Abs(sum-1) > 1e-9 {
					t.Errorf("binary %v, %+v, level %d: probabilities add up to %v", binary, s, j, sum)
				}
			}
		}
	}
}

func TestWhatIsExpectedIsWhatHappens(t *testing.T) {
	f := newFleet(31, 800)
	d := f.learned(t)
	expected, seen := 0.0, 0.0
	for t := 40; t < 60; t++ {
		row := f.day(nil)
		d.past[t%memory], d.exposure[t%memory] = row, 1
		d.age(t)
		r := d.read(row, 1)
		all := r[len(r)-1]
		expected += all.expected + all.few
		seen += all.faults + all.calm
		d.see(row, step{exposure: 1})
	}
	if ratio := seen / expected; ratio < 0.93 || ratio > 1.07 {
		t.Errorf("%v faults where %v were expected", seen, expected)
	}
}

func TestEveryPassExplainsThePastBetter(t *testing.T) {
	f := newFleet(32, 300)
	var counts [][]int16
	var exposure []float64
	for range 40 {
		counts = append(counts, f.day(nil))
		exposure = append(exposure, 1)
	}
	scale := make([]float64, 300)
	for i := range scale {
		scale[i] = 1
	}
	evidence := func(h *hazard) float64 {
		e := h.tables(1, step{exposure: 1})
		sum := 0.0
		for d := range counts[0] {
			b := h.first
			for t := range counts {
				if t > 0 {
					b = h.predict(&b)
				}
				sum += b.update(&e.healthy, counts[t][d])
			}
		}
		return sum
	}
	h := begin(counts, exposure, scale)
	last := evidence(&h)
	for pass := range passes {
		h.improve(counts, exposure, scale, sample(300, 300))
		now := evidence(&h)
		if now < last-1 { // the little that is added to every move may cost a little
			t.Errorf("pass %d: log likelihood fell from %v to %v", pass, last, now)
		}
		last = now
	}
	if first := begin(counts, exposure, scale); last < evidence(&first)+50 {
		t.Errorf("learning gained only %v", last-evidence(&first))
	}
}
