package linkfault

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud/predict/learn"
	"github.com/hearthline/hearthline/protocol/risk"
)

// task is one question asked of a device at each of its reports.
type task struct {
	name    string
	horizon int64 // seconds
	y, c    int   // columns of the label, and of whether it can be used
	calmDay bool  // only where the last 24 h were without a fault
}

var deviceTasks = map[string]task{
	"onset24": {"onset24", day, cY24, cC24, true},
	"fault24": {"fault24", day, cY24, cC24, false},
	"fault6":  {"fault6", 6 * hour, cY6, cC6, false},
}

// asked says whether the task is judged on a report.
func (t task) asked(r *report) bool { return r.calm && !(t.calmDay && r.recent) }

// answer is the label of a report: the file's where it has one, otherwise derived from the faults in the file up
// to its end.
func (t task) answer(d *device, i int, up siteUp, end int64) (fault, known bool) {
	r := &d.reports[i]
	y, c := r.v[t.y], r.v[t.c]
	if y == y && c == c {
		return y != 0, c != 0
	}
	return d.label(up, r.ts, t.horizon, end)
}

// cuts are the moments that divide training from judging, per site (see SOURCE.txt beside the data).
type cuts map[string]int64

func defaultCuts() cuts {
	at := func(s string) int64 {
		t, err := time.Parse("2006-01-02 15:04", s)
		if err != nil {
			panic(err) // a constant below
		}
		return t.Unix()
	}
	return cuts{"ARG_junin": at("2016-08-13 07:00"), "CAL_botgarden": at("2017-01-20 11:48"), "FRA_evalab": at("2016-12-31 19:03")}
}

// String and Set make cuts a flag: site=2016-08-13T07:00:00Z, repeated.
func (c cuts) String() string {
	var s []string
	for site, at := range c {
		s = append(s, site+"="+time.Unix(at, 0).UTC().Format(time.RFC3339))
	}
	sort.Strings(s)
	return strings.Join(s, " ")
}

// Set adds one site's cut.
func (c cuts) Set(v string) error {
	site, at, ok := strings.Cut(v, "=")
	t, err := time.Parse(time.RFC3339, at)
	if !ok || site == "" || err != nil {
		return fmt.Errorf("want SITE=2016-08-13T07:00:00Z")
	}
	c[site] = t.Unix()
	return nil
}

// complete gives sites without a cut one after 70 % of their time, and returns their names.
func (c cuts) complete(devices []*device) []string {
	type span struct{ from, to int64 }
	spans := map[string]span{}
	for _, d := range devices {
		s, ok := spans[d.site]
		if !ok {
			s = span{d.reports[0].ts, d.end()}
		}
		spans[d.site] = span{min(s.from, d.reports[0].ts), max(s.to, d.end())}
	}
	var added []string
	for site, s := range spans {
		if _, ok := c[site]; !ok {
			c[site] = s.from + (s.to-s.from)*7/10
			added = append(added, site)
		}
	}
	sort.Strings(added)
	return added
}

// sample is what a model is fitted to or judged on.
type sample struct {
	m     learn.Matrix
	y     []float32
	block []int32 // a device's week
	dev   []int   // number of the device in the list it was gathered from
	meant []bool  // the moment is one that the model will be asked about; nil: all are
}

// gather collects the reports to learn from: those of devices before their site's cut, with an answer.
func (t task) gather(in *risk.Input, known *deviceSet, c cuts) (*sample, error) {
	r, err := newRadio(t, in, known.up)
	if err != nil {
		return nil, err
	}
	feats := r.extract(known.devices, func(*device) bool { return true })
	rec, from := recipes[t.name], t
	if rec.from != "" {
		from = deviceTasks[rec.from]
	}
	s := &sample{m: learn.Matrix{Cols: len(in.Features)}}
	for n, d := range known.devices {
		for i := 0; i < len(d.reports); i += rec.every {
			r := &d.reports[i]
			if r.ts >= c[d.site] || !from.asked(r) {
				continue
			}
			y, ok := from.answer(d, i, known.up, d.end())
			if !ok {
				continue
			}
			s.m.Append(feats[d].Row(i))
			s.y = append(s.y, float32(bit(y)))
			s.block = append(s.block, int32(n)*4096+int32(r.ts/(7*day)%4096))
			s.dev = append(s.dev, n)
			s.meant = append(s.meant, t.asked(r))
		}
	}
	return s, nil
}

// recipe is how the model of a task is fitted.
type recipe struct {
	from   string                    // the task whose reports are learned from; empty: the task itself
	see    func(feature string) bool // features the trees may use
	linear func(feature string) bool // features the logistic may use
	every  int                       // of so many reports one is learned from: neighbours say the same
	parts  []ingredient
	own    risk.OwnPast
}

type ingredient struct {
	name     string
	weight   float64
	logistic *learn.Logistic
	bag      *learn.Trees
	boost    *learn.Trees
}

func contains(s string, any ...string) bool {
	for _, a := range any {
		if strings.Contains(s, a) {
			return true
		}
	}
	return false
}

// few are the features that carried over best to devices never seen: hard minima of the delivery ratio, recent
// faults, and how the device and its site fared so far.
func few(f string) bool {
	switch f {
	case "log(fault.count/21600s)", "log(fault.count/259200s)", "log(onset.count/21600s)", "log(onset.count/86400s)", "log(onset.count/259200s)":
		return false
	}
	return contains(f, "pdr.last", "pdr.least", "fault.since", "below_60.since", "below_70.since", "below_80.since", "log(fault.count", "onset.count", "known")
}

// steady is what a logistic makes most of: means, fading minima and counts over hours to a month.
func steady(f string) bool {
	return !contains(f, "known", "least", "site_", "hour_", "rssi", "n_par", "below_70")
}

func all(string) bool { return true }

func trio(ridge float64) []ingredient {
	return []ingredient{
		{name: "logistic", weight: 1. / 3, logistic: &learn.Logistic{Ridge: ridge}},
		{name: "extra trees", weight: 1. / 3, bag: &learn.Trees{Count: 200, Depth: 9, MinWeight: 60, Random: true, Columns: 0.4}},
		{name: "random forest", weight: 1. / 3, bag: &learn.Trees{Count: 200, Depth: 8, MinWeight: 80}},
	}
}

// recipes were chosen by cross-validation over devices with the split in time. The onset model learns from all
// calm moments, not only those after a day without a fault: there are more faults among them, and the time since
// the last one is a feature.
var recipes = map[string]recipe{
	"onset24": {from: "fault24", see: few, linear: steady, every: 4, parts: trio(0.03), own: risk.OwnPast{Prior: 15, Tau: 60 * day}},
	"fault24": {see: few, linear: all, every: 4, parts: trio(0.03), own: risk.OwnPast{Prior: 5, Tau: 60 * day}},
	"fault6":  {see: few, linear: all, every: 4, parts: trio(0.03), own: risk.OwnPast{Prior: 5, Tau: 60 * day}},
}
