package predict

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

func trained(t *testing.T, homes int, seed uint64, strange bool, version uint64) *Trained {
	t.Helper()
	p := hubPlan()
	p.Version = version
	out, err := Train(t.Context(), village(homes, seed, strange), p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestATrainedModelForetellsFaultsInHomesItNeverSaw(t *testing.T) {
	for _, trees := range []bool{false, true} {
		p := hubPlan()
		p.Trees = trees
		out, err := Train(t.Context(), village(8, 1, false), p)
		if err != nil {
			t.Fatal(err)
		}
		q := out.Quality
		base := q.Observed * (1 - q.Observed)
		if q.AP < 0.8 || q.Brier > 0.5*base || q.ECE > 0.05 || out.Homes != 8 {
			t.Errorf("trees %v: quality %+v (Brier of the mean %.3f)", trees, q, base)
		}
		b, err := risk.Encode(out.Model)
		if err != nil || len(b) > risk.MaxModelBytes {
			t.Errorf("trees %v: %d bytes, %v", trees, len(b), err)
		}
	}
}

func TestTrainingSaysWhatItLacks(t *testing.T) {
	quiet := village(3, 1, false)
	for i := range quiet {
		quiet[i].Faults = nil
	}
	storm := village(3, 1, false)
	for i := range storm {
		storm[i].Faults = []Fault{{From: 0, To: 1e9}}
	}
	backwards := village(2, 1, false)
	forward := slices.Collect(backwards[1].Samples)
	slices.Reverse(forward)
	backwards[1].Samples = slices.Values(forward)
	for name, c := range map[string]struct {
		src  Histories
		want string
	}{
		"no histories":     {nil, "no samples"},
		"no fault":         {quiet, "no fault"},
		"nothing else":     {storm, "all of them"},
		"a single home":    {village(1, 1, false), "one home"},
		"time running off": {backwards, "hub-1: sample at"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Train(t.Context(), c.src, hubPlan())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("err = %v, want one with %q", err, c.want)
			}
			if name != "time running off" && !errors.Is(err, ErrTooLittle) {
				t.Fatalf("%v is not ErrTooLittle", err)
			}
		})
	}
}

func TestACandidateIsComparedOnHomesOfToday(t *testing.T) {
	today := village(6, 50, true) // now it is the resolvers that fail
	old, fresh := trained(t, 6, 1, false, 1).Model, trained(t, 6, 2, true, 2).Model
	p := hubPlan()
	compare := func(inUse, candidate *risk.Model) (gain, doubt float64) {
		var sum Tally
		for _, h := range today {
			if err := p.tally(&sum, inUse, candidate, h, math.Inf(-1), math.Inf(1)); err != nil {
				t.Fatal(err)
			}
		}
		return sum.Gain()
	}
	if gain, doubt := compare(old, fresh); gain < 0.05 || gain < 2*doubt {
		t.Errorf("the fresh model gains %.3f ± %.3f", gain, doubt)
	}
	if gain, doubt := compare(old, old); gain != 0 || doubt != 0 {
		t.Errorf("a model gains %v ± %v over itself", gain, doubt)
	}
}

func TestQualityOfKnownPredictions(t *testing.T) {
	q := Judge([]Outcome{{0.9, true}, {0.8, false}, {0.7, true}, {0.1, false}})
	if math.Abs(q.AP-(1+2.0/3)/2) > 1e-12 || math.Abs(q.Brier-(0.01+0.64+0.09+0.01)/4) > 1e-12 || q.Observed != 0.5 {
		t.Fatalf("got %+v", q)
	}
	if (Judge(nil) != Quality{}) {
		t.Fatal("no predictions have a quality")
	}
}

func TestLivePredictionFollowsTheHub(t *testing.T) {
	m := trained(t, 8, 1, false, 1).Model
	live, err := NewLive(LiveOptions{Model: m})
	if err != nil {
		t.Fatal(err)
	}
	schema := &protocol.Schema{Metrics: []protocol.Metric{
		{Name: "gateway.loss_ratio"}, {Name: "gateway.rtt_ms"}, {Name: "dns.latency_ms", Instance: "10.0.0.1"}, {Name: "dns.active", Instance: "10.0.0.1"}, {Name: "cpu.busy_ratio"},
	}}
	h := village(1, 77, false)[0]
	hub := risk.NewObserver(m)
	var calm, before []float64
	early := 0
	for s := range h.Samples {
		for i, n := range s.Metrics {
			hub.Put(hub.Bind(n), s.Values[i])
		}
		want := hub.Tick(s.At)
		got := live.Take("t", "d", &protocol.Sample{Mono: int64(s.At*1000) + 12345, Schema: schema, Values: s.Values})
		if got.Probability != want.Probability || got.High != want.High {
			t.Fatalf("at %v s the cloud says %v, the hub %v", s.At, got.Probability, want.Probability)
		}
		if s.At < 60 && got.Abstain == risk.TooNew {
			early++
		}
		f := h.Faults[0]
		switch {
		case s.At > 300 && s.At < f.From-120:
			calm = append(calm, got.Probability)
		case s.At > f.From-15 && s.At < f.From:
			before = append(before, got.Probability)
		}
	}
	if early != 30 {
		t.Errorf("the model spoke about a hub it knew for less than a minute (abstained %d of 30 times)", early)
	}
	if a, b := mean(calm), mean(before); a > 0.1 || b < 0.6 {
		t.Errorf("mean risk %.3f when calm, %.3f in the 15 s before a fault", a, b)
	}
	// The agent starts anew: its clock is back at zero, what is known of the hub is not lost.
	r := live.Take("t", "d", &protocol.Sample{Mono: 0, Schema: schema, Values: []float64{0, 10, 15, 1, 0.5}})
	if r.Abstain != risk.Scored {
		t.Errorf("after a restart of the agent the model says %s", r.Abstain)
	}
}

func mean(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v / float64(len(x))
	}
	return s
}

func TestTrainingStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Train(ctx, village(2, 1, false), hubPlan()); !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v", err)
	}
}
