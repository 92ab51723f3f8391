package gateway_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// ask asks what time it is.
func (h *hub) ask(nonce string) {
	h.t.Helper()
	h.publish(protocol.UpTime, &protocol.TimeRequest{Version: 1, Nonce: []byte(nonce)})
}

// told waits for the answer and opens it as the device does.
func (h *hub) told() (now protocol.Time) {
	h.t.Helper()
	select {
	case m := <-h.down:
		payload, err := protocol.Verify(protocol.PurposeTime, m.Payload(), keys(h.id.got.CommandKeys))
		if err == nil {
			err = protocol.Unmarshal(payload, &now)
		}
		if err != nil {
			h.t.Fatalf("%s: %v", m.Topic(), err)
		}
	case <-time.After(10 * time.Second):
		h.t.Fatal("no answer")
	}
	return now
}

func (h *hub) offered() {
	h.t.Helper()
	select {
	case <-h.offers:
	case <-time.After(10 * time.Second):
		h.t.Fatal("the time is not offered")
	}
}

func (h *hub) wantTime(nonce string, want time.Time) {
	h.t.Helper()
	h.ask(nonce)
	got := h.told()
	if off := time.UnixMilli(got.Now).Sub(want); off.Abs() > 10*time.Second || got.Tenant != tenant || got.Device != "hub1" || !bytes.Equal(got.Nonce, []byte(nonce)) {
		h.t.Errorf("told %+v, %s off", got, off)
	}
}

func TestTheTimeIsToldToWhomItWasOfferedUnlessItIsNotKnown(t *testing.T) {
	w := newWorld(t, "hub1")
	h := w.enrol("hub1").connect(t)
	h.offered()
	h.wantTime("sixteen bytes 1.", time.Now())
	w.ahead.Store(int64(time.Hour))
	h.wantTime("sixteen bytes 2.", time.Now().Add(time.Hour))
	w.lost.Store(true)
	h.ask("sixteen bytes 3.")
	h.publish(protocol.UpState, &protocol.State{Version: 1, Online: true, Boot: 1}) // answered after the question
	w.lost.Store(false)
	h.wantTime("sixteen bytes 4.", time.Now().Add(time.Hour))
	h.publishRaw(protocol.UpTime, "no question")
	if err := <-h.lost; err == nil {
		t.Error("a malformed question does not end the connection")
	}
}

func TestBehindABrokerOneInstanceTellsTheTimeAndAllOfferItToWhoComes(t *testing.T) {
	w := newWorld(t, "hub1")
	id := w.enrol("hub1")
	m := startMosquitto(t, w.gw.CA())
	id.got.Broker = m.Outer
	w.instance("a", m)
	h := id.connect(t)
	eventually(t, "the instance is there", func() bool {
		h.present()
		return w.state("hub1").Online
	})
	h.offered()
	h.wantTime("sixteen bytes 1.", time.Now())
	for len(h.offers) > 0 {
		<-h.offers
	}

	// An instance that starts is told of everyone who is there, and stirs up nobody.
	b, _ := w.instance("b", m)
	woken, stop := b.Waker().Subscribe(tenant, "home1")
	defer stop()
	eventually(t, "the second instance is there", func() bool {
		b.Waker().Wake(tenant, "home1")
		select {
		case <-woken:
			return b.Publish(t.Context(), tenant, "hub1", protocol.DownModel, []byte("to who is online")) == nil
		case <-time.After(500 * time.Millisecond):
			return false
		}
	})
	if m := <-h.down; string(m.Payload()) != "to who is online" {
		t.Errorf("%s: %q", m.Topic(), m.Payload())
	}
	if n := len(h.offers); n != 0 {
		t.Errorf("%d offers because an instance started", n)
	}
	h.present()
	h.offered()
	h.offered()
	h.wantTime("sixteen bytes 2.", time.Now())
	h.publishRaw(protocol.UpTime, "no question")
	h.wantTime("sixteen bytes 3.", time.Now())
	select {
	case m := <-h.down:
		t.Errorf("a second answer: %q", m.Payload())
	case <-time.After(200 * time.Millisecond):
	}
}

// present says that the device is there, and leaves it with the broker.
func (h *hub) present() {
	h.t.Helper()
	b := mustMarshal(h.t, &protocol.State{Version: 1, Online: true, Boot: 1, Agent: "1"})
	h.must(h.client.Publish(protocol.Topic(tenant, "hub1", protocol.UpState), 1, true, b))
}

func (h *hub) publishRaw(c protocol.Channel, payload string) {
	h.client.Publish(protocol.Topic(h.id.got.Tenant, h.id.got.Device, c), 1, false, payload)
}
