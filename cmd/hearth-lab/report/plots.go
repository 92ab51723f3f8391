package report

import (
	"cmp"
	"image/color"
	"math"
	"path/filepath"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/hearthline/hearthline/cmd/hearth-lab/eval"
	"github.com/hearthline/hearthline/cmd/hearth-lab/linkfault"
)

var plotNames = []string{"precision-recall", "calibration", "lead", "sites"}

// colours tell lines apart also without colour vision (Okabe and Ito).
var colours = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}, {0, 0, 0, 255},
}

func plots(s *linkfault.Study, dir string, limit float64) error {
	shown := []int{0}
	for i := len(s.Models) - s.Floors; i < len(s.Models); i++ {
		shown = append(shown, i)
	}
	makers := []func() (*plot.Plot, error){
		func() (*plot.Plot, error) { return precisionRecall(s, shown) },
		func() (*plot.Plot, error) { return calibration(s) },
		func() (*plot.Plot, error) { return lead(s, limit) },
		func() (*plot.Plot, error) { return sites(s) },
	}
	for i, mk := range makers {
		p, err := mk()
		if err != nil {
			return err
		}
		if err := p.Save(15*vg.Centimeter, 10*vg.Centimeter, filepath.Join(dir, s.Task+"-"+plotNames[i]+".png")); err != nil {
			return err
		}
	}
	return nil
}

func canvas(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Add(plotter.NewGrid())
	p.Legend.Top = true
	return p
}

func line(p *plot.Plot, name string, colour int, pts plotter.XYs) error {
	l, err := plotter.NewLine(pts)
	if err != nil {
		return err
	}
	l.Color, l.Width = colours[colour%len(colours)], vg.Points(1.5)
	p.Add(l)
	if name != "" {
		p.Legend.Add(name, l)
	}
	return nil
}

func precisionRecall(s *linkfault.Study, models []int) (*plot.Plot, error) {
	p := canvas(s.Task+": precision and recall", "share of the moments before a fault that are warned (recall)", "share of the warnings that come true")
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, 1, 0, 1
	for k, m := range models {
		ps := predictions(s, m, nil)
		slices.SortStableFunc(ps, func(a, b eval.Prediction) int { return cmp.Compare(b.P, a.P) })
		all, hit := 0.0, 0.0
		for _, q := range ps {
			if q.Y {
				all++
			}
		}
		var pts plotter.XYs
		for i, q := range ps {
			if q.Y {
				hit++
			}
			if i > len(ps)/500 && (i%(1+len(ps)/400) == 0 || i+1 == len(ps)) {
				pts = append(pts, plotter.XY{X: hit / math.Max(1, all), Y: hit / float64(i+1)})
			}
		}
		if err := line(p, s.Models[m], k, pts); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func calibration(s *linkfault.Study) (*plot.Plot, error) {
	p := canvas(s.Task+": said and happened", "mean probability, ten groups of equal size", "share that came true")
	top := 0.0
	for k := range 2 {
		ps := predictions(s, k, nil)
		slices.SortStableFunc(ps, func(a, b eval.Prediction) int { return cmp.Compare(a.P, b.P) })
		var pts plotter.XYs
		for b := range 10 {
			part := ps[b*len(ps)/10 : (b+1)*len(ps)/10]
			sum, y := 0.0, 0.0
			for _, q := range part {
				sum += q.P
				if q.Y {
					y++
				}
			}
			n := math.Max(1, float64(len(part)))
			pts = append(pts, plotter.XY{X: sum / n, Y: y / n})
			top = math.Max(top, math.Max(sum/n, y/n))
		}
		if err := line(p, s.Models[k], k, pts); err != nil {
			return nil, err
		}
	}
	p.Legend.Left = true
	p.X.Min, p.Y.Min = 0, 0
	return p, line(p, "honest", 6, plotter.XYs{{X: 0, Y: 0}, {X: top, Y: top}})
}

// lead shows how many of the moments at some distance before a fault are warned.
func lead(s *linkfault.Study, limit float64) (*plot.Plot, error) {
	p := canvas(s.Task+": how early", "hours until the fault", "share warned of, with 5 % of all warned")
	longest := 0.0
	for _, m := range s.Moments {
		if m.Lead == m.Lead {
			longest = math.Max(longest, m.Lead)
		}
	}
	var pts plotter.XYs
	const steps = 12
	for b := range steps {
		from, to := longest*float64(b)/steps, longest*float64(b+1)/steps
		if w, n := warned(s, limit, func(m *linkfault.Moment) bool { return m.Lead > from && m.Lead <= to }); n > 0 {
			pts = append(pts, plotter.XY{X: (from + to) / 2, Y: w})
		}
	}
	p.Y.Min, p.Y.Max = 0, 1
	return p, line(p, s.Models[0], 0, pts)
}

func sites(s *linkfault.Study) (*plot.Plot, error) {
	p := canvas(s.Task+": by site", "", "average precision")
	names := values(s, func(m *linkfault.Moment) string { return m.Site })
	width := vg.Points(14)
	for k, model := range []int{0, len(s.Models) - 1} {
		var v plotter.Values
		for _, site := range names {
			ap := eval.Judge(predictions(s, model, func(m *linkfault.Moment) bool { return m.Site == site })).AP
			if ap != ap {
				ap = 0
			}
			v = append(v, ap)
		}
		b, err := plotter.NewBarChart(v, width)
		if err != nil {
			return nil, err
		}
		b.Color, b.Offset, b.LineStyle.Width = colours[k], width*vg.Length(float64(k)-0.5), 0
		p.Add(b)
		p.Legend.Add(s.Models[model], b)
	}
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	p.Y.Min, p.Y.Max = 0, 1.3*p.Y.Max // room for the legend
	return p, nil
}
