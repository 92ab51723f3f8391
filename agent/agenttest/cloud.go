package agenttest

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/protocol"
)

// Place names one record of a device.
type Place struct {
	Lane     protocol.Lane
	Epoch    uint64
	Sequence uint64
}

// Cloud commits what one device of tenant "acme" sends, each place once, and acknowledges the highest
// contiguous sequence of each lane and epoch, as the real one does.
type Cloud struct {
	t      testing.TB
	device string
	client mqtt.Client

	mu      sync.Mutex
	records map[Place]protocol.Record
	repeats int // places that came again
	next    map[Place]uint64
	events  []Event
	states  []protocol.State
	signals []protocol.Signal
	asked   []protocol.TimeRequest
	drop    func(protocol.Batch) bool // true: as if it had never come
	mute    bool                      // commit, but do not acknowledge
	changed chan struct{}
}

// Event is a committed event with its id.
type Event struct {
	ID protocol.EntryID
	protocol.Event
}

// NewCloud connects to the broker's plain side until the test ends.
func NewCloud(t testing.TB, b *Broker, device string) *Cloud {
	t.Helper()
	c := &Cloud{t: t, device: device, records: map[Place]protocol.Record{}, next: map[Place]uint64{}, changed: make(chan struct{})}
	o := mqtt.NewClientOptions().SetClientID("cloud-" + device).SetProtocolVersion(4).SetAutoReconnect(false).SetOrderMatters(true)
	o.Servers = []*url.URL{{Scheme: "tcp", Host: b.Plain}}
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { c.receive(m) })
	c.client = mqtt.NewClient(o)
	for _, token := range []func() mqtt.Token{c.client.Connect, func() mqtt.Token {
		return c.client.Subscribe("hl/1/acme/"+device+"/#", 1, nil)
	}} {
		tk := token()
		if !tk.WaitTimeout(10*time.Second) || tk.Error() != nil {
			t.Fatalf("cloud cannot reach its broker: %v", tk.Error())
		}
	}
	t.Cleanup(func() { c.client.Disconnect(100) })
	return c
}

func (c *Cloud) receive(m mqtt.Message) {
	_, _, channel, err := protocol.ParseTopic(m.Topic())
	if err != nil {
		c.t.Errorf("topic: %v", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch channel {
	case protocol.UpState:
		var s protocol.State
		if err := protocol.Unmarshal(m.Payload(), &s); err != nil {
			c.t.Errorf("state: %v", err)
		}
		c.states = append(c.states, s)
	case protocol.UpAssist:
		var s protocol.Signal
		if err := protocol.Unmarshal(m.Payload(), &s); err != nil {
			c.t.Errorf("signal: %v", err)
		}
		c.signals = append(c.signals, s)
	case protocol.UpTime:
		var r protocol.TimeRequest
		if err := protocol.Unmarshal(m.Payload(), &r); err != nil {
			c.t.Errorf("question of the time: %v", err)
		}
		c.asked = append(c.asked, r)
	case protocol.UpEvent, protocol.UpTelemetry:
		lane, _ := channel.Lane()
		c.commit(lane, m.Payload())
	default:
		return
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Cloud) commit(lane protocol.Lane, payload []byte) {
	var b protocol.Batch
	if err := protocol.Unmarshal(payload, &b); err != nil {
		c.t.Errorf("batch: %v", err)
		return
	}
	if c.drop != nil && c.drop(b) {
		return
	}
	at := b.First
	for _, r := range b.Records {
		for s := at; s < at+r.Span; s++ {
			p := Place{lane, b.Epoch, s}
			if old, ok := c.records[p]; ok {
				c.repeats++
				if string(old.Body) != string(r.Body) && r.Kind != protocol.KindGap && old.Kind != protocol.KindGap {
					c.t.Errorf("place %v was used for two records", p)
				}
				continue
			}
			c.records[p] = r
			if r.Kind == protocol.KindEvent {
				e := Event{ID: protocol.DeviceEntryID(c.device, b.Epoch, s)}
				if err := protocol.Unmarshal(r.Body, &e.Event); err != nil {
					c.t.Errorf("event: %v", err)
				}
				c.events = append(c.events, e)
			}
		}
		at += r.Span
	}
	k := Place{Lane: lane, Epoch: b.Epoch}
	for {
		if _, ok := c.records[Place{lane, b.Epoch, c.next[k] + 1}]; !ok {
			break
		}
		c.next[k]++
	}
	if !c.mute {
		c.ack(k)
	}
}

func (c *Cloud) ack(k Place) {
	c.publish(protocol.DownAck, &protocol.Ack{Version: protocol.Version, Lane: k.Lane, Epoch: k.Epoch, Committed: c.next[k]})
}

func (c *Cloud) publish(channel protocol.Channel, m any) {
	b, err := protocol.Marshal(m)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.Publish(channel, b)
}

// Publish sends bytes to the device.
func (c *Cloud) Publish(channel protocol.Channel, b []byte) {
	c.client.Publish(protocol.Topic("acme", c.device, channel), 1, false, b)
}

// Drop makes the cloud miss the batches for which it returns true; nil misses none.
func (c *Cloud) Drop(f func(protocol.Batch) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop = f
}

// Mute makes the cloud commit without acknowledging, or acknowledge everything at once again.
func (c *Cloud) Mute(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = on
	if !on {
		for k := range c.next {
			c.ack(k)
		}
	}
}

// Forget loses what was committed after the given number of records of each lane, as a restored backup does.
func (c *Cloud) Forget(keep uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := range c.records {
		if p.Sequence > keep {
			delete(c.records, p)
		}
	}
	for k := range c.next {
		c.next[k] = min(c.next[k], keep)
	}
}

// Await waits until the condition holds; the cloud is locked while it is asked.
func (c *Cloud) Await(what string, holds func(c *Cloud) bool) {
	c.t.Helper()
	late := time.After(30 * time.Second)
	for {
		c.mu.Lock()
		ok, changed := holds(c), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-late:
			c.t.Fatalf("after 30 s still not: %s (%s)", what, c.describe())
		}
	}
}

func (c *Cloud) describe() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	kinds := []protocol.EventKind{}
	for _, e := range c.events {
		kinds = append(kinds, e.Kind)
	}
	return fmt.Sprintf("%d records, contiguous %v, events %v", len(c.records), c.next, kinds)
}

// AwaitEvent waits for the n-th event of a kind, from 1, and returns it.
func (c *Cloud) AwaitEvent(kind protocol.EventKind, n int) (found Event) {
	c.t.Helper()
	c.Await(string(kind), func(c *Cloud) bool {
		left := n
		for _, e := range c.events {
			if e.Kind == kind {
				if left--; left == 0 {
					found = e
					return true
				}
			}
		}
		return false
	})
	return found
}

// Records, for use inside Await: how many records of the lane are committed and how many of them are gaps.
func (c *Cloud) Records(lane protocol.Lane) (n, gaps int) {
	for p, r := range c.records {
		if p.Lane == lane {
			n++
			if r.Kind == protocol.KindGap {
				gaps++
			}
		}
	}
	return n, gaps
}

// Contiguous, for use inside Await: whether no sequence below the highest is missing in any lane and epoch.
func (c *Cloud) Contiguous() bool {
	highest := map[Place]uint64{}
	for p := range c.records {
		k := Place{Lane: p.Lane, Epoch: p.Epoch}
		highest[k] = max(highest[k], p.Sequence)
	}
	for k, h := range highest {
		if c.next[k] != h {
			return false
		}
	}
	return true
}

// States, for use inside Await: what the device said of its presence.
func (c *Cloud) States() []protocol.State { return c.states }

// Asked, for use inside Await: the questions what time it is.
func (c *Cloud) Asked() []protocol.TimeRequest { return c.asked }

// Signals, for use inside Await: what came on up/assist.
func (c *Cloud) Signals() []protocol.Signal { return c.signals }
