package linkfault

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/hearthline/hearthline/cloud/predict/learn"
	"github.com/hearthline/hearthline/protocol/risk"
)

// Study is a cross-validation: every judged moment with what each model said of it, not having seen the device (for
// link24, the site), nor for devices the time.
type Study struct {
	Task    string
	Models  []string // the first is the one the tool uses; the last ones are floors
	Moments []Moment
}

// Moment is one judged moment.
type Moment struct {
	Site, Device string
	At           int64 // seconds since 1970
	Y            bool
	Lead         float64   // hours until the fault came; NaN where none did
	Cause        string    // "delivery" or "silence"; empty where none came
	P            []float64 // by model
}

// Tasks are the names of all tasks.
func Tasks() []string { return []string{"onset24", "fault24", "fault6", "link24"} }

// CrossValidate runs a study on the training folder of a task.
func CrossValidate(name, dir string, folds int, progress func(string)) (*Study, error) {
	if name == "link24" {
		return crossLinks(dir, progress)
	}
	t, ok := deviceTasks[name]
	if !ok {
		return nil, fmt.Errorf("no task %q", name)
	}
	set, err := readDevices(trainFile(dir, "device_15min.csv"))
	if err != nil {
		return nil, err
	}
	c := defaultCuts()
	c.complete(set.devices)
	s := &Study{Task: name}
	fold := dealDevices(set.devices, folds)
	for f := range folds {
		progress(fmt.Sprintf("%s: fold %d of %d", name, f+1, folds))
		known, fresh := &deviceSet{up: set.up}, &deviceSet{up: set.up}
		for i, d := range set.devices {
			if fold[i] == f {
				fresh.devices = append(fresh.devices, d)
			} else {
				known.devices = append(known.devices, d)
			}
		}
		if err := s.devices(t, known, fresh, c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// dealDevices spreads the devices of each site over folds by their rate of faults.
func dealDevices(devices []*device, folds int) []int {
	order := make([]int, len(devices))
	for i := range order {
		order[i] = i
	}
	rate := func(d *device) float64 { return float64(len(d.faults)) / float64(len(d.reports)) }
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(devices[a].site, devices[b].site), cmp.Compare(rate(devices[a]), rate(devices[b])))
	})
	out := make([]int, len(devices))
	for k, i := range order {
		out[i] = k % folds
	}
	return out
}

// devices judges one fold.
func (s *Study) devices(t task, known, fresh *deviceSet, c cuts) error {
	in := radioInput()
	full, floors, err := trainAll(t, in, known, c)
	if err != nil {
		return err
	}
	feats, err := freshFeatures(in, known, fresh)
	if err != nil {
		return err
	}
	alone, names := voices(full)
	s.Models = append([]string{"ensemble with own past", "ensemble"}, names...)
	for _, f := range floors {
		s.Models = append(s.Models, f.Name)
	}
	for _, d := range fresh.devices {
		m := feats[d]
		own := follow(full, t, d, m, fresh.up)
		for i := range d.reports {
			r := &d.reports[i]
			if r.ts < c[d.site] || !t.asked(r) {
				continue
			}
			y, ok := t.answer(d, i, fresh.up, d.end())
			if !ok {
				continue
			}
			q := Moment{Site: d.site, Device: d.name, At: r.ts, Y: y, Lead: math.NaN(), P: []float64{own[i], full.Probability(m.Row(i))}}
			for _, v := range append(alone, floors...) {
				q.P = append(q.P, v.Probability(m.Row(i)))
			}
			if y {
				q.Lead, q.Cause = d.ahead(r.ts, t.horizon)
			}
			s.Moments = append(s.Moments, q)
		}
	}
	return nil
}

// ahead tells when the next fault comes, in hours, and what it is.
func (d *device) ahead(ts, horizon int64) (float64, string) {
	i, _ := slices.BinarySearchFunc(d.faults, ts+1, func(e event, at int64) int { return cmp.Compare(e.at, at) })
	if i == len(d.faults) || d.faults[i].at > ts+horizon {
		return math.NaN(), ""
	}
	cause := "delivery"
	if d.faults[i].known != d.faults[i].at {
		cause = "silence"
	}
	return float64(d.faults[i].at-ts) / hour, cause
}

// voices returns each part of a model as a model of its own.
func voices(m *risk.Model) (alone []*risk.Model, names []string) {
	for _, p := range m.Parts {
		p.Weight = 1
		alone = append(alone, &risk.Model{Parts: []risk.Part{p}, Calibration: m.Calibration})
		switch {
		case p.Linear != nil:
			names = append(names, "logistic alone")
		case !p.Forest.Average:
			names = append(names, "boosted trees alone")
		case len(names) > 0 && names[len(names)-1] == "extra trees alone":
			names = append(names, "random forest alone")
		default:
			names = append(names, "extra trees alone")
		}
	}
	return alone, names
}

// trainAll fits the task's model and the floors: how recent the last fault is, and a logistic over the delivery ratio
// and the faults of the last day.
func trainAll(t task, in *risk.Input, known *deviceSet, c cuts) (*risk.Model, []*risk.Model, error) {
	r, err := newRadio(in, known.up)
	if err != nil {
		return nil, nil, err
	}
	feats := r.extract(known.devices, func(*device) bool { return true })
	all := func(int) bool { return true }
	full, err := t.fit(in, known, feats, c)
	if err != nil {
		return nil, nil, err
	}
	s := t.gather(known.devices, feats, known.up, c, false, recipes[t.name].every, all)
	var floors []*risk.Model
	for _, f := range []struct {
		name string
		see  func(string) bool
	}{
		{"floor: recency of the last fault", func(f string) bool { return f == "log(fault.since@1)" }},
		{"floor: logistic of a few features", func(f string) bool {
			return contains(f, "pdr.last", "pdr.mean/86400s", "pdr.low/21600s", "pdr.low/86400s", "log(fault.since", "fault.count/86400s", "fault.count/604800s", "silent.since") && !contains(f, " - ", "sigma", "spread")
		}},
	} {
		l, err := learn.Logistic{Only: chosen(in, f.see), Ridge: 0.001}.Fit(&s.m, s.y, nil, nil)
		if err != nil {
			return nil, nil, err
		}
		never(l)
		floors = append(floors, &risk.Model{Name: f.name, Parts: []risk.Part{{Weight: 1, Linear: l}}})
	}
	return full, floors, nil
}

// never gives a missing value the weight of a value at the calm end: a device without a last fault is not one with a
// usual last fault.
func never(l *risk.Linear) {
	for i := range l.Terms {
		if t := &l.Terms[i]; t.Weight < 0 {
			t.Missing = t.Weight * t.Clip
		}
	}
}

// crossLinks leaves out one site at a time.
func crossLinks(dir string, progress func(string)) (*Study, error) {
	set, err := readLinks(trainFile(dir, "links.csv"))
	if err != nil {
		return nil, err
	}
	var sites []string
	for _, l := range set.links {
		sites = append(sites, l.site)
	}
	slices.Sort(sites)
	sites = slices.Compact(sites)
	if len(sites) < 2 {
		return nil, fmt.Errorf("links of one site only: nothing to leave out")
	}
	s := &Study{Task: "link24"}
	for _, site := range sites {
		progress("link24: without site " + site)
		var known, fresh []*radioLink
		for _, l := range set.links {
			if l.site == site {
				fresh = append(fresh, l)
			} else {
				known = append(known, l)
			}
		}
		if err := s.links(known, fresh); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Study) links(known, fresh []*radioLink) error {
	m, err := trainLinks(known, linkRecipe)
	if err != nil {
		return err
	}
	alone, names := voices(m)
	s.Models = append([]string{"ensemble with own past", "ensemble"}, names...)
	own := predictLinks(m, fresh)
	walkLinks(m.Layout(), fresh, func(n, i int, x func() []float32) {
		l := fresh[n]
		if i%2 != 0 || len(l.reports) < 100 || !l.healthy(i) {
			return // every other report is enough to judge by
		}
		y, ok := l.label(i, math.MaxInt64)
		if !ok {
			return
		}
		f := x()
		q := Moment{Site: l.site, Device: l.src + ">" + l.dst, At: l.reports[i].ts, Y: y, Lead: math.NaN(), P: []float64{own[n][i], m.Probability(f)}}
		for _, v := range alone {
			q.P = append(q.P, v.Probability(f))
		}
		if y {
			q.Cause = "delivery"
			for _, r := range l.reports[i+1:] {
				if r.pdr < linkFault {
					q.Lead = float64(r.ts-q.At) / hour
					break
				}
			}
		}
		s.Moments = append(s.Moments, q)
	})
	return nil
}
