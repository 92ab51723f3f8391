package gateway_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/external"
	"github.com/hearthline/hearthline/cloud/gateway/external/mosquittotest"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/protocol"
)

// startMosquitto starts a real one under the shipped configuration.
func startMosquitto(t *testing.T, authority *ca.CA) *mosquittotest.Broker {
	t.Helper()
	m, err := mosquittotest.New(authority)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// eventually waits for another process, whose time no test can bend.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 15 s: %s", what)
}

// instance starts one more gateway over the same store behind the broker.
func (w *world) instance(name string, m *mosquittotest.Broker) (*gateway.Gateway, func()) {
	w.t.Helper()
	gw, err := gateway.New(gateway.Options{
		DB: w.db, Dir: filepath.Join(w.dir, "gateway"), Devices: fleet.Presence{}, Timeline: w.log,
		Telemetry: telemetry.Keeper{}, Presence: fleet.Presence{Log: w.log.Append},
		Tenants:  func(context.Context) ([]string, error) { return []string{tenant}, nil },
		External: &external.Options{Broker: "tls://" + m.Inner, Instance: name},
		Listen:   m.Outer, EnrolAt: "127.0.0.1:0", Hosts: []string{"127.0.0.1"},
		Signal: func(_, _ string, s protocol.Signal) { w.signals <- s },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	if err := gw.Bind(); err != nil {
		w.t.Fatal(err)
	}
	go func() { done <- gw.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			w.t.Error("run:", err)
		}
	}
	w.t.Cleanup(stop)
	return gw, stop
}

func TestSeveralInstancesBehindMosquittoCommitEachRecordOnceAndAcknowledge(t *testing.T) {
	w := newWorld(t, "hub1")
	id := w.enrol("hub1")
	m := startMosquitto(t, w.gw.CA())
	id.got.Broker = m.Outer
	a, _ := w.instance("a", m)
	b, stopB := w.instance("b", m)

	woken, stop := b.Waker().Subscribe(tenant, "home1")
	defer stop()
	eventually(t, "a wake of one instance reaches the other", func() bool {
		a.Waker().Wake(tenant, "home1")
		select {
		case <-woken:
			return true
		case <-time.After(500 * time.Millisecond):
			return false
		}
	})

	h := id.connect(t)
	h.publish(protocol.UpState, &protocol.State{Version: 1, Online: true, Boot: 1, Agent: "1"})
	const n = 300
	send := func(from, to uint64) {
		for seq := from; seq <= to; seq++ {
			h.client.Publish(protocol.Topic(tenant, "hub1", protocol.UpEvent), 1, false,
				mustMarshal(t, batch(1, seq, event(t, protocol.EventSymptom, map[string]string{"n": fmt.Sprint(seq)}))))
		}
	}
	send(1, n)
	h.acked(protocol.LaneEvent, 1, n)
	for name, gw := range map[string]*gateway.Gateway{"a": a, "b": b} {
		if gw.Stats().Ingest.Records.Load() == 0 {
			t.Errorf("instance %s committed nothing: the broker does not deal", name)
		}
	}
	// An instance goes, the device sends again what was not acknowledged, and then everything once more.
	stopB()
	send(n+1, n+50)
	send(1, n+50)
	h.acked(protocol.LaneEvent, 1, n+50)
	if got := w.count("symptom.seen"); got != n+50 {
		t.Errorf("%d entries of %d records", got, n+50)
	}

	// The broker restarts: sessions are gone, the instance and the device come back.
	m.Kill()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	<-h.lost
	var again *hub
	eventually(t, "the device is back", func() bool {
		c := mqtt.NewClient(id.options("hub1"))
		tok := c.Connect()
		ok := tok.WaitTimeout(time.Second) && tok.Error() == nil
		c.Disconnect(0)
		return ok
	})
	again = id.connect(t)
	eventually(t, "a record is acknowledged after the broker's restart", func() bool {
		again.publish(protocol.UpEvent, batch(1, n+51, event(t, protocol.EventSymptom, nil)))
		select {
		case ack := <-again.acks:
			return ack.Committed == n+51
		case <-time.After(300 * time.Millisecond):
			return false
		}
	})

	// Presence comes from the retained state and the last will.
	again.publish(protocol.UpState, &protocol.State{Version: 1, Online: true, Boot: 1, Agent: "2"})
	eventually(t, "the device is kept as there", func() bool { s := w.state("hub1"); return s.Online && s.Agent == "2" })
	again.publish(protocol.UpState, &protocol.State{Version: 1, Online: false})
	eventually(t, "the device is kept as away", func() bool { return !w.state("hub1").Online })
}

func (w *world) count(kind cloud.Kind) (n int) {
	for _, e := range w.entries() {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func (w *world) state(device string) (s fleet.State) {
	w.t.Helper()
	err := w.db.View(context.Background(), tenant, func(tx store.Tx) (err error) {
		s, err = fleet.StateOf(tx, "home1", device)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func TestTheShippedMosquittoConfigurationBindsACertificateToItsSubtree(t *testing.T) {
	w := newWorld(t, "hub1", "hub2")
	one, two := w.enrol("hub1"), w.enrol("hub2")
	m := startMosquitto(t, w.gw.CA())
	one.got.Broker, two.got.Broker = m.Outer, m.Outer
	w.instance("a", m)

	victim := two.connect(t)
	// hub1 claims hub2's client id: the broker replaces it, and hub2 stays.
	o := one.options("hub2")
	thief := mqtt.NewClient(o)
	if tok := thief.Connect(); !tok.WaitTimeout(5*time.Second) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	defer thief.Disconnect(0)
	stolen := make(chan string, 8)
	for _, f := range []string{"#", "hl/#", "hl/1/acme/hub2/down/+", "$share/hearthline/hl/1/+/+/up/event", "hl/wake/#"} {
		thief.Subscribe(f, 1, func(_ mqtt.Client, m mqtt.Message) { stolen <- m.Topic() }).WaitTimeout(5 * time.Second)
	}
	forged := mustMarshal(t, batch(1, 1, event(t, protocol.EventSymptom, nil)))
	for _, topic := range []string{"hl/1/acme/hub2/up/event", "hl/1/other/hub1/up/event", "hl/1/acme/hub2/down/ack", "hl/1/acme/hub2/state"} {
		thief.Publish(topic, 1, false, forged).WaitTimeout(5 * time.Second)
	}
	eventually(t, "hub2's own record is acknowledged", func() bool {
		victim.publish(protocol.UpEvent, batch(2, 1, event(t, protocol.EventBoot, nil)))
		select {
		case a := <-victim.acks:
			return a.Epoch == 2 && a.Committed == 1
		case <-time.After(300 * time.Millisecond):
			return false
		}
	})
	if n := w.count("symptom.seen"); n != 0 {
		t.Errorf("%d forged records got through", n)
	}
	select {
	case topic := <-stolen:
		t.Errorf("hub1 received %s", topic)
	case err := <-victim.lost:
		t.Errorf("hub2 was thrown out: %v", err)
	default:
	}
	// Nobody without a certificate of ours.
	foreign := w.issued(t, t.TempDir(), time.Now())
	tok := mqtt.NewClient(one.options("hub1").SetTLSConfig(&tls.Config{RootCAs: one.ca, Certificates: []tls.Certificate{foreign}})).Connect()
	if !tok.WaitTimeout(10*time.Second) || tok.Error() == nil {
		t.Error("a foreign certificate was let in")
	}
}
