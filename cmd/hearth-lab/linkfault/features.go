package linkfault

import (
	"math"

	"github.com/hearthline/hearthline/cloud/predict/learn"
	"github.com/hearthline/hearthline/protocol/risk"
)

// taus are the time constants of the fading windows.
var taus = []float64{hour, 6 * hour, day, 3 * day, 7 * day, 30 * day}

const always = 1e9 // a time constant that never fades

// radioInput is the vocabulary of a radio link and what the models see of it.
func radioInput() *risk.Input {
	in := &risk.Input{}
	sig := func(name string, lo, hi float64) {
		in.Signals = append(in.Signals, risk.Signal{Name: name, Lo: lo, Hi: hi})
	}
	plain := func(name string, k risk.TrackKind, taus ...float64) {
		for _, tau := range taus {
			in.Add(risk.Feature{Form: risk.Plain, A: in.Track(name, k, tau, 0)})
		}
	}
	log := func(name string, k risk.TrackKind, at float64, taus ...float64) {
		for _, tau := range taus {
			in.Add(risk.Feature{Form: risk.Log, A: in.Track(name, k, tau, at)})
		}
	}
	spread := func(name string, taus ...float64) {
		for _, tau := range taus {
			in.Add(risk.Feature{Form: risk.Spread, A: in.Track(name, risk.Mean, tau, 0)})
		}
	}
	minus := func(name string, a, b float64) {
		in.Add(risk.Feature{Form: risk.Minus, A: in.Track(name, risk.Mean, a, 0), B: in.Track(name, risk.Mean, b, 0)})
	}
	sigma := func(name string, a, b, floor float64) {
		in.Add(risk.Feature{Form: risk.Sigma, A: in.Track(name, risk.Mean, a, 0), B: in.Track(name, risk.Base, b, 0), Floor: floor})
	}

	for _, name := range []string{"pdr", "pdr_worst"} {
		sig(name, 0, 1)
		plain(name, risk.Last, 0)
		plain(name, risk.Mean, taus...)
		plain(name, risk.Low, taus[:5]...)
		spread(name, 6*hour, day, 7*day)
		minus(name, hour, day)
		minus(name, 6*hour, 7*day)
		minus(name, day, 30*day)
		sigma(name, hour, 7*day, 0.01)
	}
	for _, name := range []string{"below_60", "below_70", "below_80", "below_90"} { // reports with a delivery ratio below this
		sig(name, 0, 1)
		log(name, risk.Since, 1, 0)
		plain(name, risk.Mean, day, 7*day, 30*day, always)
	}
	for _, name := range []string{"fault", "onset", "silent", "gap", "lost"} {
		sig(name, 0, 1)
		log(name, risk.Since, 1, 0)
		log(name, risk.Count, 0, 6*hour, day, 3*day, 7*day, 30*day, always)
		plain(name, risk.Mean, always)
	}
	log("fault", risk.Age, 0, 0)
	sig("known", 0, 1) // what became of this device's own calm moments, as each became known
	plain("known", risk.Mean, 3*day, 7*day, 30*day, always)
	log("known", risk.Count, 0, always)
	for _, name := range []string{"rssi_best", "rssi_worst", "rssi_txw"} {
		sig(name, -120, 0)
		plain(name, risk.Last, 0)
		plain(name, risk.Mean, day, 30*day)
		spread(name, day, 7*day)
		minus(name, hour, 7*day)
		plain(name, risk.Low, day, 7*day)
	}
	for _, s := range []struct {
		name string
		tau  float64
	}{{"n_nbr", day}, {"n_par", day}, {"log_tx", day}, {"log_rx", day}, {"temperature", day}, {"battery", 7 * day}, {"queue", day}, {"rssi_range", day}} {
		sig(s.name, 0, 0)
		plain(s.name, risk.Last, 0)
		plain(s.name, risk.Mean, 7*day)
		spread(s.name, day, 7*day)
		minus(s.name, 6*hour, 7*day)
	}
	for _, name := range []string{"mac_dropped", "tx_bad", "tx_fail", "reboot"} {
		sig(name, 0, 100)
		log(name, risk.Since, 1, 0)
		plain(name, risk.Mean, 6*hour, 3*day, 30*day)
	}
	for _, name := range []string{"site_fault_1h", "site_fault_24h", "site_pdr", "site_silent", "site_known", "site_active"} {
		sig(name, 0, 0)
		plain(name, risk.Last, 0)
		plain(name, risk.Mean, 7*day)
	}
	minus("site_pdr", 6*hour, 7*day)
	for _, name := range []string{"hour_sin", "hour_cos", "site_up_h"} {
		sig(name, 0, 0)
		plain(name, risk.Last, 0)
	}
	return in
}

// radio streams the reports of devices into links, as a hub would.
type radio struct {
	layout *risk.Layout
	up     siteUp
	at     map[string]int // signal numbers
	x      []float32
}

func newRadio(in *risk.Input, up siteUp) (*radio, error) {
	l, err := risk.NewLayout(in)
	if err != nil {
		return nil, err
	}
	r := &radio{layout: l, up: up, at: map[string]int{}, x: make([]float32, len(in.Features))}
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
	rate    float64 // own share of calm moments that went wrong, shrunken
	known   [2]float64
	charge  float64
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
		sites[d.site] = append(sites[d.site], &follower{d: d, link: r.layout.NewLink(), pdr: math.NaN(), charge: math.NaN()})
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
		r.put(f, "below_90", ts, bit(pdr < 0.9))
		f.pdr = pdr
	}
	bad := p.fault || p.silent != 0
	r.put(f, "onset", ts, bit(bad && (f.lastBad == 0 || ts-f.lastBad >= day)))
	r.put(f, "fault", ts, bit(bad))
	r.put(f, "silent", ts, bit(p.silent != 0))
	r.put(f, "gap", ts, bit(f.lastTs != 0 && ts-f.lastTs > 2*bin && ts-f.lastTs < 6*hour))
	r.put(f, "lost", ts, bit(p.v[cLost] > 0))
	if bad {
		f.lastBad = ts
	}
	f.lastTs = ts
	for ; f.mature < f.next && f.d.reports[f.mature].ts+day <= ts; f.mature++ {
		q := &f.d.reports[f.mature]
		if !q.calm || q.recent {
			continue
		}
		if y, ok := f.d.label(r.up, q.ts, day, ts); ok {
			r.put(f, "known", ts, bit(y))
			f.known[0] += bit(y)
			f.known[1]++
		}
	}
	f.rate = (f.known[0] + 3) / (f.known[1] + 48)
	r.put(f, "rssi_best", ts, v(cRssiBest))
	r.put(f, "rssi_worst", ts, v(cRssiWorst))
	r.put(f, "rssi_txw", ts, v(cRssiTxw))
	r.put(f, "rssi_range", ts, v(cRssiBest)-v(cRssiWorst))
	r.put(f, "n_nbr", ts, v(cNbr))
	r.put(f, "n_par", ts, v(cPar))
	r.put(f, "log_tx", ts, math.Log1p(v(cTx)))
	r.put(f, "log_rx", ts, math.Log1p(v(cRx)))
	r.put(f, "temperature", ts, v(cTemp))
	r.put(f, "battery", ts, v(cBattery))
	r.put(f, "queue", ts, v(cQueue))
	r.put(f, "mac_dropped", ts, v(cMacDrop))
	r.put(f, "tx_bad", ts, v(cTxBad))
	r.put(f, "tx_fail", ts, v(cTxFail))
	if c := v(cCharge); c == c {
		r.put(f, "reboot", ts, bit(c < 0.5*f.charge))
		f.charge = c
	}
	angle := 2 * math.Pi * float64(ts%day) / day
	r.put(f, "hour_sin", ts, math.Sin(angle))
	r.put(f, "hour_cos", ts, math.Cos(angle))
}

// surroundings takes what the neighbours at the site show at this moment.
func (r *radio) surroundings(f *follower, fs []*follower, now int64) {
	var active, bad1, bad24, silent, pdr, pdrs, rate, rates float64
	for _, o := range fs {
		if o == f || o.lastTs == 0 || now-o.lastTs > day {
			continue
		}
		rate += o.rate
		rates++
		if now-o.lastTs >= silence {
			silent++
			continue
		}
		active++
		if o.lastBad != 0 && now-o.lastBad <= hour {
			bad1++
		}
		if o.lastBad != 0 && now-o.lastBad <= day {
			bad24++
		}
		if o.pdr == o.pdr {
			pdr += o.pdr
			pdrs++
		}
	}
	r.put(f, "site_active", now, active)
	r.put(f, "site_fault_1h", now, bad1/active) // NaN without neighbours: missing
	r.put(f, "site_fault_24h", now, bad24/active)
	r.put(f, "site_silent", now, silent/(silent+active))
	r.put(f, "site_pdr", now, pdr/pdrs)
	r.put(f, "site_known", now, rate/rates)
	up := 0.0
	for h := now - now%hour - hour; up < 48; h -= hour {
		if r.up.down(f.d.site, h) {
			break
		}
		up++
	}
	r.put(f, "site_up_h", now, up)
}
