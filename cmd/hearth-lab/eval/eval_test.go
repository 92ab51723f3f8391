package eval

import (
	"fmt"
	"math"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 || a != a && b != b }

func TestScoresOfKnownRankings(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name           string
		p              []float64
		y              []bool
		ap, auc, brier float64
	}{
		{"perfect", []float64{1, 1, 0, 0}, []bool{true, true, false, false}, 1, 1, 0},
		{"upside down", []float64{0, 1}, []bool{true, false}, 0.5, 0, 1},
		{"all tied", []float64{.5, .5, .5, .5}, []bool{true, false, false, false}, 0.25, 0.5, 0.25},
		{"positive at ranks 1 and 3", []float64{.9, .8, .7, .6}, []bool{true, false, true, false}, (1 + 2.0/3) / 2, 0.75, (.01 + .64 + .09 + .36) / 4},
		{"one class", []float64{.2, .1}, []bool{false, false}, nan, nan, .025},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ps []Prediction
			for i := range c.p {
				ps = append(ps, Prediction{P: c.p[i], Y: c.y[i]})
			}
			s := Judge(ps)
			if !near(s.AP, c.ap) || !near(s.AUC, c.auc) || !near(s.Brier, c.brier) {
				t.Fatalf("got %+v, want AP %v AUC %v Brier %v", s, c.ap, c.auc, c.brier)
			}
		})
	}
}

func TestCalibrationErrorSeesOverconfidenceAndTopPrecisionTheTop(t *testing.T) {
	var honest, bold []Prediction
	for i := range 1000 {
		y := i%10 == 0
		honest = append(honest, Prediction{P: 0.1 + 1e-9*float64(i%7), Y: y})
		bold = append(bold, Prediction{P: 0.3 + 1e-9*float64(i%7), Y: y})
	}
	if e := Judge(honest).ECE; e > 0.03 {
		t.Errorf("honest predictions have a calibration error of %v", e)
	}
	if e := Judge(bold).ECE; math.Abs(e-0.2) > 0.001 {
		t.Errorf("predictions 0.2 too high have a calibration error of %v", e)
	}
	var ps []Prediction
	for i := range 1000 {
		ps = append(ps, Prediction{P: float64(i), Y: i >= 995 || i < 100}) // of the top ten, five
	}
	if p := Judge(ps).P1; p != 0.5 {
		t.Errorf("precision at 1 %% is %v, want 0.5", p)
	}
}

func TestBootstrapDrawsWholeDevices(t *testing.T) {
	var ps []Prediction
	for d := range 20 {
		for i := range 50 {
			ps = append(ps, Prediction{Group: fmt.Sprint(d), P: float64(i) / 50, Y: d%2 == 0})
		}
	}
	a, b := Bootstrap(ps, 200, 1), Bootstrap(ps, 200, 1)
	if a.AP != b.AP {
		t.Fatal("the same seed drew differently")
	}
	// The label is a property of the device, so the rate in a draw is binomial over 20 devices, not over 1000 rows.
	if w := a.AP.Hi - a.AP.Lo; w < 0.2 || w > 0.6 {
		t.Fatalf("interval of AP is %v wide", w)
	}
	gain, share := Gain(a, b, func(s Scores) float64 { return s.AP })
	if gain.Lo != 0 || gain.Hi != 0 || share != 0 {
		t.Fatalf("a model gains %v (%v) over itself", gain, share)
	}
}
