package broker

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// pipes is a listener whose connections are net.Pipes, so that tests run in the fake time of synctest.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// recorder is a Handler that notes what it is told.
type recorder struct {
	mu      sync.Mutex
	log     []string
	publish func(*Session, protocol.Channel, []byte) error
	refuse  error
}

func (r *recorder) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) has(line string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.log {
		if l == line {
			return true
		}
	}
	return false
}

func (r *recorder) Connected(s *Session) error { r.note("connected %s", s.Device); return r.refuse }
func (r *recorder) Subscribed(s *Session)      { r.note("subscribed %s", s.Device) }
func (r *recorder) Disconnected(s *Session, takenOver bool) {
	r.note("disconnected %s %t", s.Device, takenOver)
}

func (r *recorder) Publish(s *Session, c protocol.Channel, payload []byte) error {
	r.note("publish %s %s %s", s.Device, c, payload)
	if r.publish != nil {
		return r.publish(s, c, payload)
	}
	return nil
}

func byClientID(_ net.Conn, id string) (tenant, device string, err error) {
	if err := protocol.CheckID("client id", id); err != nil {
		return "", "", err
	}
	return "acme", id, nil
}

type place struct {
	t *testing.T
	b *Broker
	l *pipes
	r *recorder
}

// inBubble runs a test against a serving broker in fake time.
func inBubble(t *testing.T, opts Options, test func(*place)) {
	synctest.Test(t, func(t *testing.T) {
		p := &place{t: t, l: &pipes{conns: make(chan net.Conn), done: make(chan struct{})}, r: &recorder{}}
		opts.Handler, opts.Identify = p.r, byClientID
		var err error
		if p.b, err = New(opts); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.b.Serve(ctx, p.l) }()
		test(p)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// client speaks MQTT by hand, so that it can also speak it badly.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (p *place) dial() *client {
	near, far := net.Pipe()
	p.l.conns <- far
	p.t.Cleanup(func() { near.Close() })
	return &client{near, p.t, bufio.NewReader(near)}
}

func (p *place) connect(id string) *client {
	p.t.Helper()
	c := p.dial()
	c.send(connect(4, id, 60))
	if code := c.connack(); code != 0 {
		p.t.Fatalf("connack %d", code)
	}
	return c
}

func (c *client) send(b []byte) {
	c.t.Helper()
	c.SetWriteDeadline(time.Now().Add(time.Hour))
	if _, err := c.Write(b); err != nil {
		c.t.Fatal("client cannot write:", err)
	}
}

func (c *client) packet() (kind byte, body []byte, err error) {
	h, err := c.r.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.r)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c.r, body)
	return h, body, err
}

func (c *client) connack() byte {
	c.t.Helper()
	kind, body, err := c.packet()
	if err != nil || kind != 0x20 || len(body) != 2 {
		c.t.Fatalf("want CONNACK, got %x %x %v", kind, body, err)
	}
	return body[1]
}

func (c *client) want(kind byte) []byte {
	c.t.Helper()
	got, body, err := c.packet()
	if err != nil || got != kind {
		c.t.Fatalf("want packet %x, got %x %x %v", kind, got, body, err)
	}
	return body
}

func (c *client) wantClosed() {
	c.t.Helper()
	if kind, body, err := c.packet(); err == nil {
		c.t.Fatalf("want a closed connection, got packet %x %x", kind, body)
	}
}

func pack(header byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{header}, uint64(len(body))), body...)
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func connect(version byte, id string, keepAlive uint16) []byte {
	b := append(text("MQTT"), version, 2)
	b = binary.BigEndian.AppendUint16(b, keepAlive)
	if version == 5 {
		b = append(b, 0)
	}
	return pack(0x10, append(b, text(id)...))
}

func subscribe(id uint16, filter string) []byte {
	return pack(0x82, append(append(binary.BigEndian.AppendUint16(nil, id), text(filter)...), 1))
}

func publish(id uint16, topic string, payload string) []byte {
	b := binary.BigEndian.AppendUint16(text(topic), id)
	return pack(0x32, append(b, payload...))
}
