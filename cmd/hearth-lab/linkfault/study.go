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
	Models  []string // the first is the one the tool uses
	Floors  int      // so many of the last models are simple ones to beat
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
	full, floors, err := trainWithFloors(t, in, known, c)
	if err != nil {
		return err
	}
	feats, err := freshFeatures(t, in, known, fresh)
	if err != nil {
		return err
	}
	alone, names := voices(full)
	s.Models = append([]string{"ensemble with own past", "ensemble"}, names...)
	for _, f := range floors {
		s.Models = append(s.Models, f.Name)
	}
	s.Floors = len(floors)
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

// trainWithFloors fits the task's model and, to the same reports, simple ones that it has to beat.
func trainWithFloors(t task, in *risk.Input, known *deviceSet, c cuts) (*risk.Model, []*risk.Model, error) {
	s, err := t.gather(in, known, c)
	if err != nil {
		return nil, nil, err
	}
	full, err := recipes[t.name].fit("linkfault-"+t.name, in, t.horizon, s, seed)
	if err != nil {
		return nil, nil, err
	}
	recency, err := linear(in, s, "log(fault.since")
	if err != nil {
		return nil, nil, err
	}
	least, err := linear(in, s, "pdr.least/86400s")
	if err != nil {
		return nil, nil, err
	}
	logistic, err := linear(in, s, "pdr.last", "pdr.mean/86400s", "pdr.least/21600s", "pdr.least/86400s", "log(fault.since", "fault.count/86400s", "fault.count/604800s", "silent.since")
	if err != nil {
		return nil, nil, err
	}
	forest := risk.Part{Weight: 1, Forest: learn.Bag(&learn.Set{Bins: learn.NewBins(&s.m), Y: s.y}, learn.Trees{
		Count: 200, Depth: 10, MinWeight: 50, Seed: seed,
		Only: chosen(in, func(f string) bool { return contains(f, "pdr", "since@1", "count") && !contains(f, "known") }),
	})}
	half := func(p risk.Part) risk.Part { p.Weight = 0.5; return p }
	return full, []*risk.Model{
		{Name: "floor: recency of the last fault", Parts: []risk.Part{recency}},
		{Name: "floor: minimum delivery ratio of a day", Parts: []risk.Part{least}},
		{Name: "floor: logistic", Parts: []risk.Part{logistic}},
		{Name: "floor: random forest", Parts: []risk.Part{forest}},
		{Name: "floor: logistic and forest", Parts: []risk.Part{half(logistic), half(forest)}},
	}, nil
}

// linear fits a logistic over the features whose names contain one of see. A missing value counts as one at the calm
// end: a device without a last fault is not one with a usual last fault.
func linear(in *risk.Input, s *sample, see ...string) (risk.Part, error) {
	l, err := learn.Logistic{Only: chosen(in, func(f string) bool { return contains(f, see...) && !contains(f, " - ") }), Ridge: 0.001, Clip: 5}.Fit(&s.m, s.y, nil, nil)
	if err != nil {
		return risk.Part{}, err
	}
	for i := range l.Terms {
		if t := &l.Terms[i]; t.Weight < 0 {
			t.Missing = t.Weight * t.Clip
		}
	}
	return risk.Part{Weight: 1, Linear: l}, nil
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
	in := linkInput()
	sample, err := gatherLinks(in, known, linkEvery)
	if err != nil {
		return err
	}
	m, err := linkRecipe.fit("linkfault-link24", in, day, sample, seed)
	if err != nil {
		return err
	}
	floor, err := linear(in, sample, "pdr.last", "pdr.mean", "pdr.low", "since@1", "bad.count")
	if err != nil {
		return err
	}
	alone, names := voices(m)
	alone = append(alone, &risk.Model{Parts: []risk.Part{floor}})
	s.Models, s.Floors = append(append([]string{"ensemble with own past", "ensemble"}, names...), "floor: logistic"), 1
	for _, l := range fresh {
		if len(l.reports) < 100 {
			continue
		}
		l.follow(m, func(i int, x []float32, p float64) {
			if i%2 != 0 || !l.healthy(i) {
				return // every other report is enough to judge by
			}
			y, ok := l.label(i, math.MaxInt64)
			if !ok {
				return
			}
			q := Moment{Site: l.site, Device: l.src + ">" + l.dst, At: l.reports[i].ts, Y: y, Lead: math.NaN(), P: []float64{p, m.Probability(x)}}
			for _, v := range alone {
				q.P = append(q.P, v.Probability(x))
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
	}
	return nil
}
