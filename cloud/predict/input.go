package predict

import "github.com/hearthline/hearthline/protocol/risk"

// HubInput is what a model of a hub's own connection hears and makes of it: for each signal how it is just now, how
// far that is from what is usual for this very hub, where it is heading, and its recent extreme.
//
// fast and slow are the time constants, in seconds, of "just now" and "usual".
func HubInput(fast, slow float64) risk.Input {
	in := risk.Input{Signals: []risk.Signal{
		{Name: "gateway.loss_ratio", Lo: 0, Hi: 1},
		{Name: "gateway.rtt_ms", Lo: 0, Hi: 10000},
		{Name: "gateway.reachable", Fold: risk.FoldMin, Lo: 0, Hi: 1},
		{Name: "wan.loss_ratio", Lo: 0, Hi: 1},
		{Name: "wan.rtt_ms", Lo: 0, Hi: 10000},
		{Name: "cloud.loss_ratio", Lo: 0, Hi: 1},
		{Name: "cloud.rtt_ms", Lo: 0, Hi: 10000},
		{Name: "dns.latency_ms", Metrics: []string{"dns.latency_ms{*}"}, Gate: "dns.active", Lo: 0, Hi: 10000},
		{Name: "dns.failure_ratio", Metrics: []string{"dns.failure_ratio{*}"}, Gate: "dns.active", Lo: 0, Hi: 1},
		{Name: "iface.carrier", Metrics: []string{"iface.carrier{*}"}, Gate: "route.default", Fold: risk.FoldMin, Lo: 0, Hi: 1},
		{Name: "tcp.retransmits", Rate: true, Lo: 0, Hi: 1000},
		{Name: "wifi.rssi_dbm", Metrics: []string{"wifi.rssi_dbm{*}"}, Fold: risk.FoldMin, Lo: -120, Hi: 0},
		{Name: "wifi.retries", Metrics: []string{"wifi.retries{*}"}, Fold: risk.FoldSum, Rate: true, Lo: 0, Hi: 10000},
	}}
	floor := map[string]float64{ // a difference smaller than this is no difference
		"gateway.rtt_ms": 5, "wan.rtt_ms": 10, "cloud.rtt_ms": 10, "dns.latency_ms": 10,
		"tcp.retransmits": 1, "wifi.rssi_dbm": 2, "wifi.retries": 5,
	}
	for _, s := range in.Signals {
		low := s.Fold == risk.FoldMin
		f := floor[s.Name]
		if f == 0 {
			f = 0.02
		}
		now, brief := in.Track(s.Name, risk.Mean, fast, 0), in.Track(s.Name, risk.Mean, 4*fast, 0)
		usual := in.Track(s.Name, risk.Base, slow, 0)
		in.Add(risk.Feature{Form: risk.Plain, A: now})
		in.Add(risk.Feature{Form: risk.Sigma, A: now, B: usual, Floor: f})
		in.Add(risk.Feature{Form: risk.Sigma, A: brief, B: usual, Floor: f})
		in.Add(risk.Feature{Form: risk.Minus, A: now, B: brief})
		in.Add(risk.Feature{Form: risk.Spread, A: brief})
		extreme := risk.High
		if low {
			extreme = risk.Low
		}
		in.Add(risk.Feature{Form: risk.Sigma, A: in.Track(s.Name, extreme, 4*fast, 0), B: usual, Floor: f})
	}
	return in
}
