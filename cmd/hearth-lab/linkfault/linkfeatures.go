package linkfault

import (
	"github.com/hearthline/hearthline/protocol/risk"
)

// linkInput is what is seen of a single radio link. Its neighbours, its signal strength, its age and the hour did
// not carry over to another site.
func linkInput() *risk.Input {
	v := &vocabulary{}
	v.signal(0, 1, "pdr", "bad", "below_80", "below_95")
	v.last("pdr")
	v.each(risk.Plain, "pdr", risk.Mean, hour, 6*hour, day, 7*day)
	v.each(risk.Plain, "pdr", risk.Low, hour, 6*hour, day, 3*day, 7*day)
	v.minus("pdr", hour, day)
	v.minus("pdr", 6*hour, 7*day)
	v.since("bad", "below_80", "below_95")
	v.each(risk.Log, "bad", risk.Count, day, 7*day, 30*day)
	return &v.Input
}

// walk goes through the reports of a link in order of time and calls visit with each and a way to its features,
// which are valid until the next call and cost nothing if not asked for.
func (l *radioLink) walk(layout *risk.Layout, in *risk.Input, visit func(i int, features func() []float32)) {
	k, x := layout.NewLink(), make([]float32, len(in.Features))
	for i, r := range l.reports {
		put := func(signal string, v float64) { layout.Put(k, in.Index(signal), float64(r.ts), v) }
		if r.pdr == r.pdr {
			put("pdr", r.pdr)
			put("bad", bit(r.pdr < linkFault))
			put("below_80", bit(r.pdr < linkHealthy))
			put("below_95", bit(r.pdr < 0.95))
		}
		visit(i, func() []float32 {
			layout.Features(k, float64(r.ts), x)
			return x
		})
	}
}
