package app

import (
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/gateway/ingest"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/protocol"
)

// calmHub is what the recorded homes usually show, one sample a second.
var calmHub = map[string]float64{
	"gateway.reachable": 1, "gateway.rtt_ms": 0.05, "gateway.loss_ratio": 0, "wan.rtt_ms": 0.06, "wan.loss_ratio": 0,
	"cloud.rtt_ms": 0.07, "cloud.loss_ratio": 0, "dns.latency_ms{192.168.50.1}": 1, "dns.failure_ratio{192.168.50.1}": 0,
	"dns.active{192.168.50.1}": 1, "dns.latency_ms{203.0.113.9}": 1, "dns.failure_ratio{203.0.113.9}": 0, "dns.active{203.0.113.9}": 0,
	"iface.carrier{eth0}": 1, "route.default{eth0}": 1,
}

// recorder makes blocks of the hub's telemetry and hands them to a predictor as ingest does.
type recorder struct {
	*world
	p      *predictor
	schema *protocol.Schema
	names  []string
	second int64
	begin  time.Time
}

func (w *world) recorder() *recorder {
	w.t.Helper()
	r := &recorder{world: w, begin: time.Now().Add(-10 * time.Minute).UTC().Truncate(time.Millisecond)}
	var err error
	if r.p, err = newPredictor(w.App, w.opts.RiskModel, w.opts.RiskBaseline); err != nil {
		w.t.Fatal(err)
	}
	var metrics []protocol.Metric
	for name := range calmHub {
		r.names = append(r.names, name)
		m, instance := split(name)
		metrics = append(metrics, protocol.Metric{Name: m, Instance: instance, Kind: protocol.Gauge, Scale: 3})
	}
	if r.schema, err = protocol.NewSchema(metrics); err != nil {
		w.t.Fatal(err)
	}
	w.update(func(tx store.Tx) error { return telemetry.Keeper{}.PutSchema(tx, home, hub, r.schema) })
	return r
}

func split(name string) (metric, instance string) {
	names, _ := splitMetrics([]string{name})
	if metric = names[0]; metric != name {
		instance = name[len(metric)+1 : len(name)-1]
	}
	return metric, instance
}

// plays records some seconds in blocks of ten.
func (r *recorder) plays(seconds int, trouble map[string]float64) {
	r.t.Helper()
	for ; seconds > 0; seconds -= 10 {
		sealer, err := protocol.NewSealer(r.schema)
		if err != nil {
			r.t.Fatal(err)
		}
		from := r.begin.Add(time.Duration(r.second) * time.Second)
		for range 10 {
			row := make([]float64, len(r.names))
			for i, n := range r.names {
				row[i] = calmHub[n]
				if v, bad := trouble[n]; bad {
					row[i] = v
				}
			}
			at := r.begin.Add(time.Duration(r.second) * time.Second)
			err := sealer.Add(&protocol.Sample{Mono: r.second * 1000, Wall: at.UnixMilli(), Schema: r.schema, Values: row})
			if err != nil {
				r.t.Fatal(err)
			}
			r.second++
		}
		b, err := protocol.Marshal(sealer.Seal())
		if err != nil {
			r.t.Fatal(err)
		}
		r.said++
		block := cloud.Block{Home: home, Device: hub, From: from, To: from.Add(9 * time.Second), Epoch: 1, Sequence: r.said, Bytes: b}
		r.update(func(tx store.Tx) error { return telemetry.Keeper{}.PutBlocks(tx, []cloud.Block{block}) })
		r.p.Observe(ingest.Committed{Tenant: tenant, Blocks: []cloud.Block{block}})
	}
}

func namespacedHome(o *Options) { o.RiskModel, o.RiskBaseline = predict.NamespacedHome() }

var slowLookups = map[string]float64{"dns.latency_ms{192.168.50.1}": 900}

func TestTheCloudRaisesTheRiskOfAHubThatDoesNotScoreItself(t *testing.T) {
	w := newWorld(t, namespacedHome)
	r := w.recorder()
	r.plays(60, nil)
	if n := len(w.entries()); n != 0 {
		t.Fatalf("a calm hub has %d entries:\n%s", n, w.story())
	}
	r.plays(30, slowLookups)
	raised := w.last(cloud.KindRiskRaised)
	if raised.Actor.ID != "predict" || len(raised.Evidence) == 0 || len(raised.Risk.Reasons) == 0 {
		t.Errorf("the risk is %+v", raised)
	}
	chosen := w.last(cloud.KindFixChosen)
	if chosen.Args["choice"] != "resolver=203.0.113.9" || chosen.Because[0] != raised.ID {
		t.Errorf("chose %v because of %v", chosen.Args, chosen.Because)
	}
	r.plays(240, nil)
	if cleared := w.last(cloud.KindRiskCleared); cleared.Because[0] != raised.ID {
		t.Errorf("cleared because of %v", cleared.Because)
	}
	if n := w.count(cloud.KindRiskRaised); n != 1 {
		t.Errorf("raised %d times", n)
	}
}

func TestAHubThatHasRaisedItsOwnRiskIsNotContradicted(t *testing.T) {
	w := newWorld(t, namespacedHome)
	r := w.recorder()
	r.plays(60, nil)
	w.says(protocol.EventRisk, nil, func(e *cloud.Entry) {
		e.Risk = &protocol.Risk{Model: "hub", Probability: 0.9, Reasons: []protocol.Reason{{Feature: "dns.latency_ms", Share: 1}}}
	})
	r.plays(30, slowLookups)
	r.plays(240, nil)
	if raised, cleared := w.count(cloud.KindRiskRaised), w.count(cloud.KindRiskCleared); raised != 1 || cleared != 0 {
		t.Errorf("raised %d times and cleared %d times, want the hub's own word alone:\n%s", raised, cleared, w.story())
	}
}

func TestAModelThatIsNoneIsRefusedAtStart(t *testing.T) {
	if _, err := newPredictor(nil, []byte("no model"), nil); err == nil {
		t.Error("nonsense was taken for a model")
	}
	model, _ := predict.NamespacedHome()
	if _, err := newPredictor(nil, model, []byte("no baseline")); err == nil {
		t.Error("nonsense was taken for a baseline")
	}
}
