package linkfault

import (
	"math"
	"sort"

	"github.com/hearthline/hearthline/protocol/risk"
)

// linkInput is what is seen of a single radio link and its neighbours.
func linkInput() *risk.Input {
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
	sig("pdr", 0, 1)
	plain("pdr", risk.Last, 0)
	plain("pdr", risk.Mean, hour, 6*hour, day, 7*day)
	plain("pdr", risk.Low, hour, 6*hour, day, 3*day, 7*day)
	spread("pdr", 6*hour, day, 7*day)
	minus("pdr", hour, day)
	minus("pdr", 6*hour, 7*day)
	for _, name := range []string{"bad", "below_80", "below_95"} {
		sig(name, 0, 1)
		log(name, risk.Since, 1, 0)
		log(name, risk.Count, 0, day, 7*day, 30*day)
		plain(name, risk.Mean, day, 7*day, 30*day)
	}
	log("pdr", risk.Age, 0, 0)
	sig("rssi", -120, 0)
	plain("rssi", risk.Last, 0)
	plain("rssi", risk.Mean, day, 7*day)
	plain("rssi", risk.Low, 6*hour, day, 7*day)
	spread("rssi", 6*hour, day, 7*day)
	minus("rssi", hour, day)
	minus("rssi", day, 7*day)
	sig("log_tx", 0, 0)
	plain("log_tx", risk.Last, 0)
	plain("log_tx", risk.Mean, day)
	minus("log_tx", hour, day)
	sig("log_gap", 0, 0)
	plain("log_gap", risk.Last, 0)
	plain("log_gap", risk.Mean, day)
	plain("log_gap", risk.High, day)
	for _, name := range []string{"src_pdr", "src_bad", "dst_pdr", "dst_bad", "site_pdr", "site_bad", "site_bad_1h"} {
		sig(name, 0, 0)
		plain(name, risk.Last, 0)
		plain(name, risk.Mean, day)
	}
	for _, name := range []string{"src_links", "dst_links", "hour_sin", "hour_cos"} {
		sig(name, 0, 0)
		plain(name, risk.Last, 0)
	}
	return in
}

// peer is the running state of a link as its neighbours see it.
type peer struct {
	lastTs, lastBad int64
	pdr             float64
}

// walkLinks goes through the reports of all links in order of time and calls visit with a link, a report and a
// way to its features, which are valid until the next call and cost nothing if not asked for.
func walkLinks(layout *risk.Layout, links []*radioLink, visit func(n, i int, x func() []float32)) {
	in := linkInput()
	w := &linkWalk{layout: layout, in: in, x: make([]float32, len(in.Features)), peers: make([]peer, len(links))}
	w.number()
	state := make([]*risk.Link, len(links))
	bySrc, byDst, bySite := map[[2]string][]int{}, map[[2]string][]int{}, map[string][]int{}
	type step struct {
		ts   int64
		n, i int32
	}
	var steps []step
	for n, l := range links {
		state[n] = layout.NewLink()
		bySrc[[2]string{l.site, l.src}] = append(bySrc[[2]string{l.site, l.src}], n)
		byDst[[2]string{l.site, l.dst}] = append(byDst[[2]string{l.site, l.dst}], n)
		bySite[l.site] = append(bySite[l.site], n)
		for i := range l.reports {
			steps = append(steps, step{l.reports[i].ts, int32(n), int32(i)})
		}
	}
	sort.SliceStable(steps, func(a, b int) bool { return steps[a].ts < steps[b].ts })
	for a := 0; a < len(steps); {
		b := a
		for ; b < len(steps) && steps[b].ts == steps[a].ts; b++ { // reports of the same moment see each other
			w.note(state[steps[b].n], int(steps[b].n), links[steps[b].n], int(steps[b].i))
		}
		for ; a < b; a++ {
			s := steps[a]
			l := links[s.n]
			visit(int(s.n), int(s.i), func() []float32 {
				k := state[s.n]
				w.around(k, int(s.n), s.ts, "src", bySrc[[2]string{l.site, l.src}])
				w.around(k, int(s.n), s.ts, "dst", byDst[[2]string{l.site, l.dst}])
				w.around(k, int(s.n), s.ts, "site", bySite[l.site])
				layout.Features(k, float64(s.ts), w.x)
				return w.x
			})
		}
	}
}

type linkWalk struct {
	layout *risk.Layout
	in     *risk.Input
	at     map[string]int
	x      []float32
	peers  []peer
}

func (w *linkWalk) number() {
	w.at = map[string]int{}
	for i, s := range w.in.Signals {
		w.at[s.Name] = i
	}
}

func (w *linkWalk) put(k *risk.Link, signal string, ts int64, v float64) {
	w.layout.Put(k, w.at[signal], float64(ts), v)
}

func (w *linkWalk) note(k *risk.Link, n int, l *radioLink, i int) {
	r, p := &l.reports[i], &w.peers[n]
	if r.pdr == r.pdr {
		w.put(k, "pdr", r.ts, r.pdr)
		w.put(k, "bad", r.ts, bit(r.pdr < linkFault))
		w.put(k, "below_80", r.ts, bit(r.pdr < 0.8))
		w.put(k, "below_95", r.ts, bit(r.pdr < 0.95))
		p.pdr = r.pdr
		if r.pdr < linkFault {
			p.lastBad = r.ts
		}
	}
	w.put(k, "rssi", r.ts, r.rssi)
	w.put(k, "log_tx", r.ts, math.Log1p(r.tx))
	if i > 0 {
		w.put(k, "log_gap", r.ts, math.Log1p(float64(r.ts-l.reports[i-1].ts)))
	}
	angle := 2 * math.Pi * float64(r.ts%day) / day
	w.put(k, "hour_sin", r.ts, math.Sin(angle))
	w.put(k, "hour_cos", r.ts, math.Cos(angle))
	p.lastTs = r.ts
}

// around takes what the other links of the same source, destination or site show.
func (w *linkWalk) around(k *risk.Link, self int, now int64, what string, others []int) {
	var n, pdr, bad, bad1 float64
	for _, o := range others {
		p := &w.peers[o]
		if o == self || p.lastTs == 0 || now-p.lastTs > 2*hour {
			continue
		}
		n++
		pdr += p.pdr
		if p.lastBad != 0 && now-p.lastBad <= day {
			bad++
			if now-p.lastBad <= hour {
				bad1++
			}
		}
	}
	if n > 0 {
		w.put(k, what+"_pdr", now, pdr/n)
		w.put(k, what+"_bad", now, bad/n)
	}
	if what == "site" {
		w.put(k, "site_bad_1h", now, bad1/n)
	} else {
		w.put(k, what+"_links", now, n)
	}
}
