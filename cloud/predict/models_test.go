package predict

import (
	"strings"
	"testing"

	"github.com/hearthline/hearthline/protocol/risk"
)

func TestTheModelThatComesWithTheSourceTellsACalmHubFromOneInTrouble(t *testing.T) {
	b, baseline := NamespacedHome()
	m, err := risk.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	play := func(trouble map[string]float64) (r risk.Risk, after int) {
		o := risk.NewObserver(m)
		if err := o.Restore(baseline, 0); err != nil {
			t.Fatal(err)
		}
		usual := map[string]float64{
			"gateway.reachable": 1, "gateway.rtt_ms": 0.05, "gateway.loss_ratio": 0, "wan.rtt_ms": 0.06, "wan.loss_ratio": 0,
			"cloud.rtt_ms": 0.07, "cloud.loss_ratio": 0, "dns.latency_ms{192.168.50.1}": 1, "dns.failure_ratio{192.168.50.1}": 0,
			"dns.active{192.168.50.1}": 1, "dns.latency_ms{203.0.113.9}": 1, "dns.failure_ratio{203.0.113.9}": 0, "dns.active{203.0.113.9}": 0,
			"iface.carrier{eth0}": 1, "route.default{eth0}": 1,
		}
		after = -1
		for at := 1; at <= 100; at++ {
			for n, v := range usual {
				if bad, ok := trouble[n]; ok && at > 60 {
					v = bad
				}
				o.Put(o.Bind(n), v)
			}
			if r = o.Tick(float64(at)); r.High && after < 0 {
				after = at - 60
			}
		}
		return r, after
	}
	if r, after := play(nil); after >= 0 || r.Abstain != risk.Scored || r.Probability > 0.3 {
		t.Errorf("a calm hub is at %.2f and %s, raised after %d s", r.Probability, r.Abstain, after)
	}
	if _, after := play(map[string]float64{"dns.latency_ms{203.0.113.9}": 900, "dns.failure_ratio{203.0.113.9}": 1}); after >= 0 {
		t.Error("a resolver that nobody uses raised the risk")
	}
	for name, c := range map[string]struct {
		trouble map[string]float64
		why     string
	}{
		"resolver slow": {map[string]float64{"dns.latency_ms{192.168.50.1}": 900}, "dns."},
		"resolver dead": {map[string]float64{"dns.latency_ms{192.168.50.1}": 2000, "dns.failure_ratio{192.168.50.1}": 1}, "dns."},
		"loss outside":  {map[string]float64{"wan.loss_ratio": 0.4, "cloud.loss_ratio": 0.4, "wan.rtt_ms": 80, "cloud.rtt_ms": 120}, "wan. cloud."},
		"loss at home":  {map[string]float64{"gateway.loss_ratio": 0.4, "wan.loss_ratio": 0.4, "cloud.loss_ratio": 0.4, "gateway.rtt_ms": 90, "wan.rtt_ms": 90}, "gateway. wan. cloud."},
	} {
		r, after := play(c.trouble)
		if after < 1 || after > 20 {
			t.Errorf("%s: %.2f after 40 s, raised after %d s", name, r.Probability, after)
		}
		where, _, _ := strings.Cut(r.Reasons[0].Signal, ".")
		if r.N == 0 || !strings.Contains(c.why, where+".") {
			t.Errorf("%s: because of %+v", name, r.Reasons[:r.N])
		}
	}
}

func BenchmarkSampleOfAHub(b *testing.B) {
	data, baseline := NamespacedHome()
	m, err := risk.Decode(data)
	if err != nil {
		b.Fatal(err)
	}
	o := risk.NewObserver(m)
	if err := o.Restore(baseline, 0); err != nil {
		b.Fatal(err)
	}
	var handles []int
	for _, n := range []string{"gateway.reachable", "gateway.rtt_ms", "gateway.loss_ratio", "wan.rtt_ms", "wan.loss_ratio", "cloud.rtt_ms", "cloud.loss_ratio", "dns.latency_ms{a}", "dns.failure_ratio{a}", "dns.active{a}", "iface.carrier{eth0}", "route.default{eth0}", "tcp.retransmits"} {
		handles = append(handles, o.Bind(n))
	}
	b.ReportAllocs()
	b.ReportMetric(float64(m.NewLink().Bytes()), "B/link")
	for i := 0; b.Loop(); i++ {
		for j, h := range handles {
			o.Put(h, float64((i+j)%7)*0.1)
		}
		o.Tick(float64(i))
	}
}
