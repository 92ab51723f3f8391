package broker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

func TestTheDoorTakesPublishesOfTheDeviceAndSendsWhatItSubscribedTo(t *testing.T) {
	inBubble(t, Options{}, func(p *place) {
		c := p.connect("hub1")
		if p.b.Send("acme", "hub1", protocol.DownAck, []byte("early")) {
			t.Error("sent to a device that has not subscribed")
		}
		c.send(subscribe(1, "hl/1/acme/hub1/down/+"))
		c.want(0x90)
		c.send(publish(2, "hl/1/acme/hub1/up/event", "hello"))
		c.want(0x40)
		if !p.r.has("publish hub1 up/event hello") {
			t.Errorf("handler was told %q", p.r.log)
		}
		if !p.b.Send("acme", "hub1", protocol.DownAck, []byte("ack")) {
			t.Error("not sent")
		}
		if body := c.want(0x30); string(body) != string(text("hl/1/acme/hub1/down/ack"))+"ack" {
			t.Errorf("got %q", body)
		}
	})
}

func TestAPingIsAnsweredAndTheEndOfASubscriptionEndsWhatIsSent(t *testing.T) {
	inBubble(t, Options{}, func(p *place) {
		c := p.connect("hub1")
		c.send(subscribe(1, "hl/1/acme/hub1/down/ack"))
		if body := c.want(0x90); string(body) != "\x00\x01\x01" {
			t.Errorf("SUBACK %x", body)
		}
		c.send([]byte{0xc0, 0})
		c.want(0xd0)
		if p.b.Send("acme", "hub1", protocol.DownCommand, []byte("x")) {
			t.Error("sent on a channel that was not subscribed to")
		}
		c.send(pack(0xa2, append([]byte{0, 2}, text("hl/1/acme/hub1/down/ack")...)))
		if body := c.want(0xb0); string(body) != "\x00\x02" {
			t.Errorf("UNSUBACK %x", body)
		}
		if p.b.Send("acme", "hub1", protocol.DownAck, []byte("x")) {
			t.Error("sent after the end of the subscription")
		}
		c.send([]byte{0xe0, 0})
		c.wantClosed()
		synctest.Wait()
		if !p.r.has("disconnected hub1 false") || p.b.Stats().Violations.Load() != 0 {
			t.Error("a goodbye is the end of the session, and nothing bad")
		}
	})
}

func TestNoMoreDevicesThanTheLimitAreServed(t *testing.T) {
	inBubble(t, Options{MaxClients: 1}, func(p *place) {
		first, second := p.connect("hub1"), p.dial()
		second.send(connect(4, "hub2", 60))
		if code := second.connack(); code != 3 {
			t.Errorf("connack %d, want 3", code)
		}
		second.wantClosed()
		first.Close()
		synctest.Wait()
		p.connect("hub2")
	})
}

func TestRefusalsSayWhy(t *testing.T) {
	refused := fmt.Errorf("%w: gone", ErrRefused)
	for _, test := range []struct {
		name    string
		packet  []byte
		refuse  error
		connack byte
	}{
		{"MQTT 5 is an unacceptable protocol version", connect(5, "hub1", 60), nil, 1},
		{"a client id outside the alphabet is rejected", connect(4, "hub/1", 60), nil, 2},
		{"a device that the registry refuses is not authorized", connect(4, "hub1", 60), refused, 5},
		{"a registry that cannot answer is an unavailable server", connect(4, "hub1", 60), errors.New("disk"), 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Options{}, func(p *place) {
				p.r.refuse = test.refuse
				c := p.dial()
				c.send(test.packet)
				if code := c.connack(); code != test.connack {
					t.Errorf("connack %d, want %d", code, test.connack)
				}
				c.wantClosed()
				if n := p.b.Stats().Refused.Load(); n != 1 {
					t.Errorf("counted %d refusals", n)
				}
				if _, ok := p.b.Session("acme", "hub1"); ok || p.r.has("disconnected hub1 false") {
					t.Error("a refused device has a session")
				}
			})
		})
	}
}

func TestABadClientIsDisconnectedAndTheOthersGoOn(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*client)
	}{
		{"publish in the subtree of another device", func(c *client) { c.send(publish(1, "hl/1/acme/hub2/up/event", "x")) }},
		{"publish in the subtree of another tenant", func(c *client) { c.send(publish(1, "hl/1/other/hub1/up/event", "x")) }},
		{"publish on its own down topic", func(c *client) { c.send(publish(1, "hl/1/acme/hub1/down/ack", "x")) }},
		{"publish at QoS 0 outside its subtree", func(c *client) { c.send(pack(0x30, append(text("hl/1/acme/hub2/up/event"), 'x'))) }},
		{"subscribe to another device", func(c *client) { c.send(subscribe(1, "hl/1/acme/hub2/down/+")) }},
		{"subscribe to everything", func(c *client) { c.send(subscribe(1, "#")) }},
		{"subscribe to its own up topics", func(c *client) { c.send(subscribe(1, "hl/1/acme/hub1/#")) }},
		{"an oversized packet", func(c *client) { c.send(append([]byte{0x32}, binary.AppendUvarint(nil, 1<<27)...)) }},
		{"a second CONNECT", func(c *client) { c.send(connect(4, "hub1", 60)) }},
		{"a release of QoS 2", func(c *client) { c.send(pack(0x62, []byte{0, 1})) }},
		{"publish at QoS 2", func(c *client) { c.send(append([]byte{0x34}, publish(1, "hl/1/acme/hub1/up/event", "x")[1:]...)) }},
		{"subscribe to nothing", func(c *client) { c.send(pack(0x82, []byte{0, 1})) }},
		{"a SUBSCRIBE without its flags", func(c *client) { c.send(append([]byte{0x80}, subscribe(1, "hl/1/acme/hub1/down/+")[1:]...)) }},
		{"an UNSUBSCRIBE without an id", func(c *client) { c.send(pack(0xa2, append([]byte{0, 0}, text("hl/1/acme/hub1/down/+")...))) }},
		{"an invalid packet type", func(c *client) { c.send([]byte{0xf0, 0}) }},
		{"a truncated SUBSCRIBE", func(c *client) { c.send(pack(0x82, []byte{0, 1, 0, 9, 'a'})) }},
		{"a remaining length without end", func(c *client) { c.send([]byte{0x32, 0xff, 0xff, 0xff, 0xff, 0xff}) }},
		{"a message that the handler cannot take", func(c *client) { c.send(publish(1, "hl/1/acme/hub1/up/event", "malformed")) }},
		{"a message that makes the handler panic", func(c *client) { c.send(publish(1, "hl/1/acme/hub1/up/event", "panic")) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, Options{}, func(p *place) {
				p.r.publish = func(_ *Session, _ protocol.Channel, payload []byte) error {
					switch string(payload) {
					case "malformed":
						return errors.New("malformed batch")
					case "panic":
						panic("handler")
					}
					return nil
				}
				bad, good := p.connect("hub1"), p.connect("hub9")
				go io.Copy(io.Discard, bad.r)
				test.do(bad)
				synctest.Wait()
				if _, ok := p.b.Session("acme", "hub1"); ok || !p.r.has("disconnected hub1 false") {
					t.Fatal("the client is still connected")
				}
				if p.r.has("publish hub1 up/event x") {
					t.Error("the message had an effect")
				}
				good.send(publish(1, "hl/1/acme/hub9/up/event", "fine"))
				good.want(0x40)
			})
		})
	}
}

func TestAConnectionThatSaysNothingIsClosed(t *testing.T) {
	inBubble(t, Options{Handshake: 10 * time.Second}, func(p *place) {
		begin := time.Now()
		c := p.dial()
		c.wantClosed()
		if took := time.Since(begin); took != 10*time.Second {
			t.Errorf("closed after %s", took)
		}
	})
}

func TestAHalfOpenDeviceIsGoneAfterOneAndAHalfKeepAlivesAndNeverStaysForever(t *testing.T) {
	for _, test := range []struct {
		keepAlive uint16
		closed    time.Duration
	}{{30, 45 * time.Second}, {0, 450 * time.Second}, {65535, 450 * time.Second}} {
		t.Run(fmt.Sprint(test.keepAlive), func(t *testing.T) {
			inBubble(t, Options{}, func(p *place) {
				c := p.dial()
				c.send(connect(4, "hub1", test.keepAlive))
				c.connack()
				begin := time.Now()
				c.wantClosed()
				if took := time.Since(begin); took != test.closed {
					t.Errorf("closed after %s, want %s", took, test.closed)
				}
			})
		})
	}
}

func TestADeviceThatDoesNotReadIsDisconnectedAndHoldsUpNobody(t *testing.T) {
	inBubble(t, Options{}, func(p *place) {
		slow, good := p.connect("slow"), p.connect("good")
		for name, c := range map[string]*client{"slow": slow, "good": good} {
			c.send(subscribe(1, "hl/1/acme/"+name+"/down/+"))
			c.want(0x90)
		}
		begin := time.Now()
		sent := 0
		for p.b.Send("acme", "slow", protocol.DownCommand, make([]byte, 1<<10)) {
			if sent++; sent > 10_000 {
				t.Fatal("the queue of a device that does not read has no end")
			}
		}
		p.b.Send("acme", "good", protocol.DownCommand, []byte("x"))
		good.want(0x30)
		if took := time.Since(begin); took != 0 {
			t.Errorf("sending took %s", took)
		}
		synctest.Wait()
		if _, ok := p.b.Session("acme", "slow"); ok {
			t.Error("the device that does not read is still connected")
		}
	})
}

func TestADeviceWhosePublishWaitsStillGetsItsMessagesAndOthersAreServed(t *testing.T) {
	inBubble(t, Options{}, func(p *place) {
		room := make(chan struct{})
		p.r.publish = func(s *Session, _ protocol.Channel, payload []byte) error {
			if string(payload) == "wait" {
				s.Busy()
				<-room
				s.Ready()
			}
			return nil
		}
		full, good := p.connect("full"), p.connect("good")
		full.send(subscribe(1, "hl/1/acme/full/down/+"))
		full.want(0x90)
		full.send(append(publish(1, "hl/1/acme/full/up/event", "first"), publish(2, "hl/1/acme/full/up/event", "wait")...))
		full.want(0x40) // the PUBACK of the first is not held up by the second
		p.b.Send("acme", "full", protocol.DownAck, []byte("ack"))
		full.want(0x30)
		good.send(publish(1, "hl/1/acme/good/up/event", "x"))
		good.want(0x40)
		close(room)
		full.want(0x40)
	})
}

func TestANewSessionTakesOverAtOnceAndTheOldOnesEndIsNotTheDevicesEnd(t *testing.T) {
	inBubble(t, Options{}, func(p *place) {
		old := p.connect("hub1")
		for range 20 {
			now := p.connect("hub1")
			now.send(subscribe(1, "hl/1/acme/hub1/down/+"))
			now.want(0x90)
			old.wantClosed()
			synctest.Wait()
			if !p.b.Send("acme", "hub1", protocol.DownAck, []byte("x")) {
				t.Fatal("the new session is not reached")
			}
			now.want(0x30)
			old = now
		}
		if p.r.has("disconnected hub1 false") {
			t.Error("a takeover was told as the device's end")
		}
		old.Close()
		synctest.Wait()
		if !p.r.has("disconnected hub1 false") || p.b.Stats().Connected.Load() != 0 {
			t.Error("the end of the last session was not told")
		}
	})
}

func TestAnswersToOneSegmentLeaveInOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		count := &counting{Conn: far}
		r := &recorder{}
		b, err := New(Options{Handler: r, Identify: byClientID})
		if err != nil {
			t.Fatal(err)
		}
		b.conns.Add(1)
		go b.handle(t.Context(), count)
		c := &client{near, t, bufio.NewReader(near)}
		c.send(connect(4, "hub1", 60))
		c.connack()
		before := count.writes()
		var many []byte
		for i := range uint16(12) { // less than the smallest buffer
			many = append(many, publish(i+1, "hl/1/acme/hub1/up/event", "x")...)
		}
		c.send(many)
		for range 12 {
			c.want(0x40)
		}
		if n := count.writes() - before; n != 1 {
			t.Errorf("12 PUBACKs left in %d writes", n)
		}
		near.Close()
		b.conns.Wait()
	})
}

type counting struct {
	net.Conn
	mu sync.Mutex
	n  int
}

func (c *counting) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *counting) writes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}
