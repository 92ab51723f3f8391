package replay

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/hearthline/hearthline/protocol"
)

// Trouble kinds of a synthetic home.
const (
	NoTrouble    = "none"
	SlowResolver = "slow-resolver" // the router's resolver becomes slow; dns.switch helps
	WeakWifi     = "weak-wifi"     // the signal fades and packets to the router are lost; nothing helps
	LossyUplink  = "lossy-uplink"  // the provider loses packets; uplink.failover helps where there is a second uplink
	FlappingPort = "flapping-port" // the cable to the router comes and goes; interface.bounce helps
)

// Profile is a home to make up. The zero Trouble is NoTrouble.
type Profile struct {
	Model, Firmware, Hardware string
	Trouble                   string
	From, To                  int64 // the trouble, in milliseconds since the first row
	RampMS                    int64 // how long it takes to come on; 0 means its first quarter
	Rows                      int   // 0 means 360
	StepMS                    int64 // time between rows; 0 means 10000
}

// The made-up models. A home's number picks one, so that firmwares and models mix.
var models = []struct {
	model, hardware string
	firmwares       []string
	wifi, lte       bool
}{
	{"Hub One", "r2", []string{"3.8.1", "3.9.0", "3.9.2"}, false, true},
	{"Hub Mini", "r1", []string{"2.4.0", "2.4.1"}, true, false},
	{"Gateway G3", "c", []string{"1.12.4", "1.13.0"}, false, false},
	{"Bridge 2", "b1", []string{"5.0.7", "5.1.0"}, true, false},
	{"Panel 7", "a", []string{"0.9.14"}, true, false},
}

// Profiles returns n made-up homes for a lab or a demo: models and firmwares mixed, one in three with a
// mild trouble somewhere in its hour. The same n and seed give the same homes.
func Profiles(n int, seed uint64) []Profile {
	r := rand.New(rand.NewPCG(seed, 1))
	troubles := []string{SlowResolver, WeakWifi, LossyUplink, FlappingPort}
	list := make([]Profile, n)
	for i := range list {
		m := models[i%len(models)]
		p := Profile{Model: m.model, Hardware: m.hardware, Firmware: m.firmwares[r.IntN(len(m.firmwares))], Trouble: NoTrouble}
		if i%3 == 2 {
			p.Trouble = troubles[r.IntN(len(troubles))]
			if p.Trouble == WeakWifi && !m.wifi {
				p.Trouble = SlowResolver
			}
			p.From = (15 + int64(r.IntN(25))) * 60_000
			p.To = p.From + (3+int64(r.IntN(6)))*60_000
		}
		list[i] = p
	}
	return list
}

// The addresses of a made-up home.
const (
	syntheticResolver    = "192.168.1.1"
	syntheticAlternative = "203.0.113.9"
)

// Synthetic makes up the trace and script of a home. These are not recordings: levels and spreads are
// chosen to be plausible, and the same profile and seed give the same rows.
func Synthetic(p Profile, seed uint64) (*Trace, Script, error) {
	rows, step := p.Rows, p.StepMS
	if rows == 0 {
		rows = 360
	}
	if step == 0 {
		step = 10_000
	}
	wifi, lte := false, false
	for _, m := range models {
		if m.model == p.Model {
			wifi, lte = m.wifi, m.lte
		}
	}
	switch p.Trouble {
	case "", NoTrouble, SlowResolver, WeakWifi, LossyUplink, FlappingPort:
	default:
		return nil, Script{}, fmt.Errorf("synthetic home: trouble %q; want %s, %s, %s, %s or %s", p.Trouble, NoTrouble, SlowResolver, WeakWifi, LossyUplink, FlappingPort)
	}
	g := newGenerator(p, seed, wifi, lte)
	t := &Trace{}
	for i := range rows {
		row := g.row(int64(i)*step, step)
		if t.Metrics == nil {
			t.Metrics = g.metrics
		}
		t.Times, t.Rows = append(t.Times, int64(i)*step), append(t.Rows, row)
	}
	s := g.script(t)
	return t, s, s.check(t)
}

// generator makes the rows of one home.
type generator struct {
	p       Profile
	r       *rand.Rand
	port    string
	lte     bool
	wifi    bool
	metrics []protocol.Metric
	values  []float64
	first   bool

	rtt, dns, rssi, lease, up float64 // levels of this home
	counts                    map[string]float64
}

func newGenerator(p Profile, seed uint64, wifi, lte bool) *generator {
	r := rand.New(rand.NewPCG(seed, 0x73796e7468))
	g := &generator{p: p, r: r, port: "eth0", wifi: wifi, lte: lte, counts: map[string]float64{}}
	if wifi {
		g.port = "wlan0"
	}
	g.rtt, g.dns = 6+r.ExpFloat64()*8, 3+r.ExpFloat64()*5
	g.rssi, g.lease, g.up = -48-r.Float64()*14, r.Float64()*40_000, 3600+r.Float64()*2e6
	return g
}

// put adds a column in the first row and a value in all.
func (g *generator) put(name, instance string, v float64) {
	if g.first {
		m, _ := metricOf(protocol.Metric{Name: name, Instance: instance}.String()) // names here are well formed
		g.metrics = append(g.metrics, m)
	}
	g.values = append(g.values, v)
}

// noisy is a level with the long upper tail that delays have.
func (g *generator) noisy(level float64) float64 {
	return level * (0.9 + 0.1*g.r.ExpFloat64())
}

// lost is a loss ratio as 20 probes would show it.
func (g *generator) lost(p float64) float64 {
	n := 0
	for range 20 {
		if g.r.Float64() < p {
			n++
		}
	}
	return float64(n) / 20
}

// count lets a counter grow.
func (g *generator) count(name, instance string, by float64) {
	key := name + instance
	g.counts[key] += math.Floor(by)
	g.put(name, instance, g.counts[key])
}

func (g *generator) row(at, step int64) []float64 {
	g.first, g.values = at == 0, nil
	// How bad the trouble is at this moment.
	bad := 0.0
	if at >= g.p.From && at < g.p.To {
		ramp := cmp.Or(g.p.RampMS, (g.p.To-g.p.From)/4)
		bad = min(float64(at-g.p.From+step)/float64(ramp), 1)
	}
	trouble := func(kind string) float64 {
		if g.p.Trouble == kind {
			return bad
		}
		return 0
	}
	weak, slow, lossyLine := trouble(WeakWifi), trouble(SlowResolver), trouble(LossyUplink)
	cut := trouble(FlappingPort) > 0 && g.r.Float64() < 0.5

	gatewayLoss := g.lost(0.25 * weak)
	wanLoss := g.lost(1 - (1-0.25*weak)*(1-0.25*lossyLine)*(1-0.0005))
	if cut {
		gatewayLoss, wanLoss = 1, 1
	}
	g.put("gateway.reachable", "", 1-math.Floor(gatewayLoss))
	g.put("gateway.rtt_ms", "", lostIsMissing(gatewayLoss, g.noisy(0.8+15*weak)))
	g.put("gateway.loss_ratio", "", gatewayLoss)
	g.put("wan.rtt_ms", "", lostIsMissing(wanLoss, g.noisy(g.rtt+15*weak+60*lossyLine)))
	g.put("wan.loss_ratio", "", wanLoss)
	g.put("cloud.rtt_ms", "", lostIsMissing(wanLoss, g.noisy(g.rtt+9+15*weak+60*lossyLine)))
	g.put("cloud.loss_ratio", "", wanLoss)
	g.put("dns.latency_ms", syntheticResolver, lostIsMissing(gatewayLoss, g.noisy(g.dns+900*slow)))
	g.put("dns.failure_ratio", syntheticResolver, min(math.Floor(8*max(gatewayLoss, 0.3*slow*g.r.Float64()))/8, 1))
	g.put("dns.active", syntheticResolver, 1)
	g.put("dns.latency_ms", syntheticAlternative, lostIsMissing(wanLoss, g.noisy(g.rtt+2)))
	g.put("dns.failure_ratio", syntheticAlternative, math.Floor(8*wanLoss)/8)
	g.put("dns.active", syntheticAlternative, 0)

	seconds := float64(step) / 1000
	sent := seconds * (3 + 2*g.r.ExpFloat64())
	g.count("tcp.segments_out", "", sent)
	g.count("tcp.retransmits", "", sent*(0.002+0.5*wanLoss))
	g.put("iface.carrier", g.port, map[bool]float64{true: 0, false: 1}[cut])
	g.count("iface.rx_bytes", g.port, sent*700)
	g.count("iface.tx_bytes", g.port, sent*240)
	g.count("iface.rx_errors", g.port, 4*weak*g.r.Float64())
	g.lease += seconds
	if g.lease > 43_200 { // half of a day's lease
		g.lease = 0
	}
	g.put("dhcp.lease_age_s", g.port, math.Floor(g.lease))
	g.put("route.default", g.port, 1)
	if g.wifi {
		g.put("wifi.rssi_dbm", g.port, math.Round(g.rssi-26*weak+1.5*g.r.NormFloat64()))
		g.put("wifi.bitrate_mbps", g.port, g.noisy(130)*(1-0.8*weak))
		g.count("wifi.retries", g.port, seconds*(0.3+12*weak))
	}
	if g.lte {
		g.put("iface.carrier", "wwan0", 1)
		g.put("route.default", "wwan0", 0)
	}
	g.put("cpu.busy_ratio", "", min(0.04+0.03*g.r.ExpFloat64(), 1))
	g.put("mem.available_bytes", "", math.Round(2.1e8+4e6*g.r.NormFloat64()))
	g.put("temp_celsius", "soc", 47+1.2*g.r.NormFloat64())
	g.up += seconds
	g.put("uptime_s", "", math.Floor(g.up))
	return g.values
}

func lostIsMissing(loss, v float64) float64 {
	if loss >= 1 {
		return math.NaN()
	}
	return v
}

// script offers what the made-up device can do and which of it would have helped.
func (g *generator) script(t *Trace) Script {
	s := Script{Model: g.p.Model, Firmware: g.p.Firmware, Hardware: g.p.Hardware, Actions: []Offer{
		{Kind: "dns.switch", Args: map[string][]string{"resolver": {syntheticResolver, syntheticAlternative}}},
		{Kind: "dhcp.renew", Targets: []string{g.port}},
		{Kind: "interface.bounce", Targets: []string{g.port}},
	}}
	if g.lte {
		s.Actions = append(s.Actions, Offer{Kind: "uplink.failover", Targets: []string{g.port, "wwan0"}})
	}
	if g.p.Trouble == "" || g.p.Trouble == NoTrouble || g.p.To > t.span() || g.p.From <= 0 {
		return s
	}
	s.Calm = Span{From: 0, To: g.p.From}
	tr := Trouble{Span: Span{From: g.p.From, To: g.p.To}}
	paths := []string{
		"wan.rtt_ms", "wan.loss_ratio", "cloud.rtt_ms", "cloud.loss_ratio",
		"dns.latency_ms{" + syntheticAlternative + "}", "dns.failure_ratio{" + syntheticAlternative + "}",
	}
	switch {
	case g.p.Trouble == LossyUplink && g.lte:
		tr.Metrics = paths
		tr.CuredBy = &protocol.Action{Kind: "uplink.failover", Target: "wwan0"}
	case g.p.Trouble == FlappingPort:
		tr.Metrics = append(paths, "gateway.reachable", "gateway.rtt_ms", "gateway.loss_ratio", "iface.carrier{"+g.port+"}",
			"dns.latency_ms{"+syntheticResolver+"}", "dns.failure_ratio{"+syntheticResolver+"}")
		tr.CuredBy = &protocol.Action{Kind: "interface.bounce", Target: g.port}
	default: // a slow resolver stays slow; the switch is what makes it not matter
		return s
	}
	s.Troubles = []Trouble{tr}
	return s
}
