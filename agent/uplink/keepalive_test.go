package uplink

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// connect is the packet that paho sends when it is told to keep nothing alive.
func connect(t *testing.T, will string) []byte {
	t.Helper()
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession, p.ClientIdentifier = "MQTT", 4, true, "hub-1"
	p.WillFlag, p.WillTopic, p.WillMessage = true, "hl/1/acme/hub-1/up/state", []byte(will)
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTheBrokerIsToldOfTheKeepAlive(t *testing.T) {
	for _, will := range []string{"short", string(make([]byte, 300))} { // lengths of one byte and of two
		for every, want := range map[time.Duration]uint16{30 * time.Second: 30, 1500 * time.Millisecond: 2, 100 * time.Hour: 65535} {
			in := connect(t, will)
			out, err := announce(in, every)
			if err != nil {
				t.Fatal(err)
			}
			p, err := packets.ReadPacket(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			c := p.(*packets.ConnectPacket)
			if c.Keepalive != want || c.ClientIdentifier != "hub-1" || string(c.WillMessage) != will {
				t.Errorf("%v: %v", every, c)
			}
			if !bytes.Equal(in, connect(t, will)) {
				t.Error("the caller's packet was changed")
			}
		}
	}
	whole := connect(t, "")
	for _, b := range [][]byte{nil, {0x10}, whole[:11], {0x10, 0x80, 0x80}, append([]byte{0x30}, whole[1:]...)} {
		if out, err := announce(b, time.Second); err == nil {
			t.Errorf("%x became %x", b, out)
		}
	}
}

// wire is a connection to a broker that takes everything and hears nothing by itself.
type wire struct {
	net.Conn
	sent   bytes.Buffer
	in     io.Reader
	closed bool
}

func (w *wire) Write(b []byte) (int, error) { return w.sent.Write(b) }
func (w *wire) Close() error                { w.closed = true; return nil }
func (w *wire) Read(b []byte) (int, error)  { return w.in.Read(b) }

func TestABrokerIsPingedWhenNothingIsHeardAndLeftWhenItStaysSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{in: bytes.NewReader(make([]byte, 10))}
		c := newKeptConn(w, 30*time.Second)
		hear := func() {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(after, next time.Duration, pings int) {
			t.Helper()
			time.Sleep(after)
			got, err := c.keep()
			if err != nil || got != next || w.sent.Len() != 2*pings {
				t.Errorf("next in %v, %v, after %d bytes; want %v after %d pings", got, err, w.sent.Len(), next, pings)
			}
		}
		c.connected = true
		time.Sleep(time.Second)
		hear()
		expect(0, 29*time.Second, 0) // nothing was sent since the start
		expect(29*time.Second, 10*time.Second, 1)
		expect(4*time.Second, 6*time.Second, 1)
		hear()
		expect(0, 26*time.Second, 1)
		if _, err := c.Write([]byte("xx")); err != nil {
			t.Fatal(err)
		}
		expect(0, 30*time.Second, 2) // sending is no sign of life: the pong was the last
		expect(30*time.Second, 10*time.Second, 3)
		time.Sleep(10 * time.Second)
		if _, err := c.keep(); !errors.Is(err, errNoPong) || !w.closed {
			t.Errorf("after silence: %v, closed %t: with a goodbye the last will would not be told", err, w.closed)
		}
	})
}
