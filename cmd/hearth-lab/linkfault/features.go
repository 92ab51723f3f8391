package linkfault

import (
	"math"

	"github.com/hearthline/hearthline/cloud/predict/learn"
	"github.com/hearthline/hearthline/protocol/risk"
)

// usualRate is about how many of all calm moments go wrong; how a device fared is told against it.
const usualRate = 0.08

// vocabulary is an input side under construction.
type vocabulary struct{ risk.Input }

func (v *vocabulary) signal(lo, hi float64, names ...string) {
	for _, name := range names {
		v.Signals = append(v.Signals, risk.Signal{Name: name, Lo: lo, Hi: hi})
	}
}

// each adds a feature of one track for every time constant.
func (v *vocabulary) each(form risk.Form, name string, k risk.TrackKind, taus ...float64) {
	for _, tau := range taus {
		v.Add(risk.Feature{Form: form, A: v.Track(name, k, tau, 0)})
	}
}

func (v *vocabulary) last(names ...string) {
	for _, name := range names {
		v.Add(risk.Feature{Form: risk.Plain, A: v.Track(name, risk.Last, 0, 0)})
	}
}

// since adds how long ago a 0/1 signal was last 1; never is as long ago as 60 days.
func (v *vocabulary) since(names ...string) {
	for _, name := range names {
		v.Add(risk.Feature{Form: risk.Log, A: v.Track(name, risk.Since, 60*day, 1)})
	}
}

func (v *vocabulary) minus(name string, a, b float64) {
	v.Add(risk.Feature{Form: risk.Minus, A: v.Track(name, risk.Mean, a, 0), B: v.Track(name, risk.Mean, b, 0)})
}

// radioInput is the vocabulary of a device on a radio mesh and what the models see of it.
func radioInput() *risk.Input {
	v := &vocabulary{}
	v.signal(0, 1, "pdr", "pdr_worst", "below_60", "below_70", "below_80", "fault", "onset", "silent", "gap")
	v.last("pdr")
	v.each(risk.Plain, "pdr", risk.Least, hour, 6*hour, day, 3*day, 7*day)
	v.since("fault", "below_60", "below_70", "below_80")
	v.each(risk.Log, "fault", risk.Count, day, 7*day, 30*day)
	v.each(risk.Log, "onset", risk.Count, 7*day, 30*day)
	v.signal(0, 1, "known", "expected") // what became of this device's own calm moments, as each became known
	for _, tau := range []float64{3 * day, 10 * day, 20 * day, 60 * day} {
		v.Add(risk.Feature{Form: risk.Excess, A: v.Track("known", risk.Count, tau, 0), B: v.Track("expected", risk.Count, tau, 0), Floor: 20})
	}
	v.signal(0, 0, "site_known_3d", "site_known_10d", "site_known_30d") // the same of the neighbours
	v.last("site_known_3d", "site_known_10d", "site_known_30d")

	// What follows suits the logistic, and the tasks in which faults of the last hours count: see few and steady.
	v.each(risk.Plain, "pdr", risk.Mean, hour, 6*hour, day, 3*day, 7*day, 30*day)
	v.each(risk.Plain, "pdr", risk.Low, 6*hour, day, 3*day, 7*day)
	v.each(risk.Spread, "pdr", risk.Mean, 6*hour, day, 7*day)
	v.minus("pdr", 6*hour, 7*day)
	v.minus("pdr", day, 30*day)
	for _, name := range []string{"below_60", "below_80"} {
		v.each(risk.Plain, name, risk.Mean, day, 7*day, 30*day)
	}
	v.since("onset", "silent", "gap")
	for _, name := range []string{"fault", "onset", "silent", "gap"} {
		v.each(risk.Log, name, risk.Count, 6*hour, 3*day)
	}
	v.each(risk.Log, "onset", risk.Count, day)
	for _, name := range []string{"silent", "gap"} {
		v.each(risk.Log, name, risk.Count, day, 7*day, 30*day)
	}
	v.each(risk.Plain, "pdr_worst", risk.Least, hour, 6*hour, day)
	v.signal(0, 1, "site_fault_1h", "site_fault_6h", "site_fault_24h")
	v.signal(0, 0, "n_par", "rssi", "hour_sin", "hour_cos")
	v.last("site_fault_1h", "site_fault_6h", "site_fault_24h", "n_par", "rssi", "hour_sin", "hour_cos")
	return &v.Input
}

// radio streams the reports of devices into links, as a hub would.
type radio struct {
	task   task
	layout *risk.Layout
	up     siteUp
	at     map[string]int // signal numbers
	x      []float32
}

func newRadio(t task, in *risk.Input, up siteUp) (*radio, error) {
	l, err := risk.NewLayout(in)
	if err != nil {
		return nil, err
	}
	r := &radio{task: t, layout: l, up: up, at: map[string]int{}, x: make([]float32, len(in.Features))}
	for i, s := range in.Signals {
		r.at[s.Name] = i
	}
	return r, nil
}

// follower is the running state of one device.
type follower struct {
	d       *device
	link    *risk.Link
	next    int // next report to come
	mature  int // next report whose label is not yet known
	lastTs  int64
	lastBad int64
	pdr     float64
	fared   [len(fades)]record
}

// extract computes the features of every report of the devices that want names, in the order of their reports.
// Neighbours at the same site count for each other up to the same moment, never later.
func (r *radio) extract(devices []*device, want func(*device) bool) map[*device]*learn.Matrix {
	out := map[*device]*learn.Matrix{}
	sites := map[string][]*follower{}
	var order []string
	for _, d := range devices {
		if sites[d.site] == nil {
			order = append(order, d.site)
		}
		sites[d.site] = append(sites[d.site], &follower{d: d, link: r.layout.NewLink(), pdr: math.NaN()})
		if want(d) {
			out[d] = &learn.Matrix{Cols: len(r.x), X: make([]float32, 0, len(r.x)*len(d.reports))}
		}
	}
	for _, s := range order {
		r.site(sites[s], out)
	}
	return out
}

// site walks the reports of a site in order of time; reports of the same moment see each other.
func (r *radio) site(fs []*follower, out map[*device]*learn.Matrix) {
	for {
		now := int64(math.MaxInt64)
		for _, f := range fs {
			if f.next < len(f.d.reports) {
				now = min(now, f.d.reports[f.next].ts)
			}
		}
		if now == math.MaxInt64 {
			return
		}
		var here []*follower
		for _, f := range fs {
			if f.next < len(f.d.reports) && f.d.reports[f.next].ts == now {
				r.note(f, &f.d.reports[f.next])
				here = append(here, f)
			}
		}
		for _, f := range here {
			if m := out[f.d]; m != nil {
				r.surroundings(f, fs, now)
				r.layout.Features(f.link, float64(now), r.x)
				m.Append(r.x)
			}
			f.next++
		}
	}
}

func (r *radio) put(f *follower, signal string, ts int64, v float64) {
	r.layout.Put(f.link, r.at[signal], float64(ts), v)
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// note takes one report into the device's state.
func (r *radio) note(f *follower, p *report) {
	v := func(c int) float64 { return float64(p.v[c]) }
	ts := p.ts
	pdr := v(cPdr)
	r.put(f, "pdr", ts, pdr)
	r.put(f, "pdr_worst", ts, v(cPdrWorst))
	if pdr == pdr {
		r.put(f, "below_60", ts, bit(pdr < 0.6))
		r.put(f, "below_70", ts, bit(pdr < 0.7))
		r.put(f, "below_80", ts, bit(pdr < 0.8))
		f.pdr = pdr
	}
	bad := p.fault || p.silent != 0
	r.put(f, "fault", ts, bit(bad))
	r.put(f, "onset", ts, bit(bad && (f.lastBad == 0 || ts-f.lastBad >= 6*hour)))
	r.put(f, "silent", ts, bit(p.silent != 0))
	r.put(f, "gap", ts, bit(f.lastTs != 0 && ts-f.lastTs > 2*bin))
	if bad {
		f.lastBad = ts
	}
	f.lastTs = ts
	for ; f.mature < f.next && f.d.reports[f.mature].ts+r.task.horizon <= ts; f.mature++ {
		q := &f.d.reports[f.mature]
		if !r.task.asked(q) {
			continue
		}
		if y, ok := f.d.label(r.up, q.ts, r.task.horizon, ts); ok {
			r.put(f, "known", ts, bit(y))
			r.put(f, "expected", ts, usualRate)
			for i := range f.fared {
				f.fared[i] = f.fared[i].at(ts, fades[i]).plus(y)
			}
		}
	}
	r.put(f, "rssi", ts, v(cRssiTxw))
	r.put(f, "n_par", ts, v(cPar))
	angle := 2 * math.Pi * float64(ts%day) / day
	r.put(f, "hour_sin", ts, math.Sin(angle))
	r.put(f, "hour_cos", ts, math.Cos(angle))
}

// surroundings takes what the neighbours at the site show at this moment.
func (r *radio) surroundings(f *follower, fs []*follower, now int64) {
	var active, bad1, bad6, bad24 float64
	var fared [len(fades)]record
	for _, o := range fs {
		if o == f || o.lastTs == 0 {
			continue
		}
		for i := range fared {
			k := o.fared[i].at(now, fades[i])
			fared[i].faults += k.faults
			fared[i].expected += k.expected
		}
		if now-o.lastTs > day {
			continue
		}
		active++
		if o.lastBad != 0 {
			bad1 += bit(now-o.lastBad <= hour)
			bad6 += bit(now-o.lastBad <= 6*hour)
			bad24 += bit(now-o.lastBad <= day)
		}
	}
	r.put(f, "site_fault_1h", now, bad1/(active+1))
	r.put(f, "site_fault_6h", now, bad6/(active+1))
	r.put(f, "site_fault_24h", now, bad24/(active+1))
	r.put(f, "site_known_3d", now, fared[0].excess())
	r.put(f, "site_known_10d", now, fared[1].excess())
	r.put(f, "site_known_30d", now, fared[2].excess())
}

// fades are the time constants of a device's record as its neighbours see it.
var fades = [...]float64{3 * day, 10 * day, 30 * day}

// record counts calm moments that went wrong and how many would have been usual, both fading.
type record struct {
	faults, expected float64
	ts               int64
}

func (r record) at(now int64, tau float64) record {
	f := math.Exp(-float64(now-r.ts) / tau)
	return record{f * r.faults, f * r.expected, now}
}

func (r record) plus(fault bool) record {
	return record{r.faults + bit(fault), r.expected + usualRate, r.ts}
}

func (r record) excess() float64 { return math.Log((r.faults + 50) / (r.expected + 50)) }
