package risk

import (
	"math"
	"testing"
)

// lossModel is High when the loss has been well above what it was.
func lossModel(t *testing.T) *Model {
	t.Helper()
	in := Input{Signals: []Signal{
		{Name: "loss", Metrics: []string{"gateway.loss_ratio", "dns.failure_ratio{*}"}, Lo: 0, Hi: 1},
		{Name: "retransmits", Metrics: []string{"tcp.retransmits"}, Rate: true},
	}}
	in.Add(Feature{Form: Plain, A: in.Track("loss", Mean, 5, 0)})
	in.Add(Feature{Form: Plain, A: in.Track("retransmits", Last, 0, 0)})
	m := &Model{
		Name: "loss", Horizon: 60, Input: in, Raise: 0.7, Clear: 0.3, Abstention: Abstention{MinAge: 5},
		Parts: []Part{{Weight: 1, Linear: &Linear{Bias: -5, Terms: []Term{
			{Feature: 0, Center: 0, Scale: 0.1, Clip: 10, Weight: 1}, {Feature: 1, Scale: 1, Clip: 3, Weight: 0.1},
		}}}},
	}
	if err := m.Compile(); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnObserverRaisesOnceAndClearsOnce(t *testing.T) {
	o := NewObserver(lossModel(t))
	gw, a, b := o.Bind("gateway.loss_ratio"), o.Bind("dns.failure_ratio{10.0.0.1}"), o.Bind("dns.failure_ratio{10.0.0.2}")
	if o.Bind("cpu.busy_ratio") != -1 || o.Bind("gateway.loss_ratio") != gw || gw < 0 || a == b {
		t.Fatal("binding is wrong")
	}
	var changes []float64
	for at := 0.0; at < 100; at++ {
		o.Put(gw, 0)
		o.Put(a, 0)
		if at >= 40 && at < 60 {
			o.Put(b, 0.9) // the worst resolver speaks for the signal
		}
		r := o.Tick(at)
		if r.Changed {
			changes = append(changes, at)
			if r.High && (r.N != 1 || r.Reasons[0].Signal != "loss" || r.Reasons[0].Share < 0.99 || r.Reasons[0].Value < 0.2 || r.Reasons[0].Value > 0.9) {
				t.Errorf("the reason is %+v", r.Reasons[0])
			}
		}
		if at < 5 && r.Abstain != TooNew {
			t.Errorf("at %v s it does not say that it is too new", at)
		}
	}
	if len(changes) != 2 || changes[0] < 41 || changes[0] > 50 || changes[1] < 61 || changes[1] > 75 {
		t.Fatalf("changes at %v, want one rise in 41..50 and one fall in 61..75", changes)
	}
}

func TestACounterBecomesARateAndSurvivesAReset(t *testing.T) {
	o := NewObserver(lossModel(t))
	h := o.Bind("tcp.retransmits")
	x := make([]float32, 2)
	want := []float32{float32(math.NaN()), 2, 3, 3, 1} // the reset gives no new value
	for i, v := range []float64{100, 120, 150, 7, 17} {
		o.Put(h, v)
		o.Tick(float64(10 * i))
		o.m.layout.Features(o.link, float64(10*i), x)
		if x[1] != want[i] && !(isNaN32(x[1]) && isNaN32(want[i])) {
			t.Errorf("sample %d: rate %v, want %v", i, x[1], want[i])
		}
	}
}

func TestAnExportedObserverGoesOnWhereItWas(t *testing.T) {
	m := lossModel(t)
	a := NewObserver(m)
	h := a.Bind("gateway.loss_ratio")
	for at := range 50 {
		a.Put(h, 0.01*float64(at))
		a.Tick(float64(at))
	}
	state, err := a.Export()
	if err != nil {
		t.Fatal(err)
	}
	b := NewObserver(m)
	if err := b.Restore(state, 1049); err != nil { // another clock, 1000 s apart
		t.Fatal(err)
	}
	g := b.Bind("gateway.loss_ratio")
	for at := 50; at < 60; at++ {
		a.Put(h, 0.5)
		b.Put(g, 0.5)
		if p, q := a.Tick(float64(at)).Probability, b.Tick(float64(1000+at)).Probability; p != q {
			t.Fatalf("at %d the restored observer says %v, the first one %v", at, q, p)
		}
	}
	if err := NewObserver(sampleModel(t)).Restore(state, 0); err == nil {
		t.Fatal("the state of another model was taken")
	}
	if err := b.Restore(state[:len(state)-3], 0); err == nil {
		t.Fatal("a torn state was taken")
	}
}

func TestScoringDoesNotAllocate(t *testing.T) {
	o := NewObserver(sampleModel(t))
	h := o.Bind("gateway.loss_ratio")
	at := 0.0
	if n := testing.AllocsPerRun(1000, func() { o.Put(h, 0.1); at++; o.Tick(at) }); n != 0 {
		t.Fatalf("%v allocations a sample", n)
	}
}

func BenchmarkTick(b *testing.B) {
	o := NewObserver(sampleModel(b))
	h, r := o.Bind("gateway.loss_ratio"), o.Bind("rtt.gateway")
	b.ReportAllocs()
	b.ReportMetric(float64(o.link.Bytes()), "B/link")
	for i := 0; b.Loop(); i++ {
		o.Put(h, float64(i%7)*0.1)
		o.Put(r, float64(i%11))
		o.Tick(float64(i))
	}
}

func BenchmarkScore(b *testing.B) {
	m := sampleModel(b)
	s, k := NewScorer(m), m.NewLink()
	for i := range 100 {
		for j := range m.Input.Signals {
			m.Put(k, j, float64(i), float64(i%(j+3))*0.3)
		}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Score(k, float64(100+i%100))
	}
}

func TestOnlyInstancesInUseCount(t *testing.T) {
	in := Input{Signals: []Signal{{Name: "latency", Metrics: []string{"dns.latency_ms{*}"}, Gate: "dns.active"}}}
	in.Add(Feature{Form: Plain, A: in.Track("latency", Last, 0, 0)})
	m := &Model{Name: "gate", Horizon: 1, Input: in, Raise: 1, Parts: []Part{{Weight: 1, Linear: &Linear{}}}}
	if err := m.Compile(); err != nil {
		t.Fatal(err)
	}
	o := NewObserver(m)
	slow := o.Bind("dns.latency_ms{a}") // before its gate is known, and again with it already there
	other, otherOn, slowOn := o.Bind("dns.latency_ms{b}"), o.Bind("dns.active{b}"), o.Bind("dns.active{a}")
	if o.binds[slow].gate != slowOn || o.binds[other].gate != otherOn {
		t.Fatal("gates are not bound to their instances")
	}
	x := make([]float32, 1)
	for i, c := range []struct{ a, b float64 }{{1, 0}, {0, 1}, {1, 1}, {0, 0}} {
		o.Put(slow, 900)
		o.Put(other, 5)
		o.Put(slowOn, c.a)
		o.Put(otherOn, c.b)
		o.Take(float64(i))
		o.Features(x)
		want := []float32{900, 5, 900, 900}[i] // nothing in use: the last value stands
		if x[0] != want {
			t.Errorf("with a=%v b=%v in use the latency is %v, want %v", c.a, c.b, x[0], want)
		}
	}
}
