// Package broker is the embedded MQTT 3.1.1 front end of the devices' door.
//
// It is not a general broker. A device publishes on its own up topics, which end in a Handler, and
// receives on its own down topics; nothing is routed from one client to another, and no session outlives
// its connection: what must survive is in the device's outbox and in our store. So of mochi-mqtt only the
// decoding of packets is used. Its server would add two goroutines' worth of waiting, a trie of topics and
// maps of what is in flight to every connection, copies each publish three times, and deletes the new
// client of a device when the old one ends late. What a client may do is bounded:
//
//   - MQTT 5 is refused before anything of it is decoded: a truncated SUBSCRIBE of it panics mochi 2.7.9. A
//     panic of any kind ends one connection, not the process.
//   - Packets have a size limit, CONNECT a time limit, keep-alive an upper bound, and handshakes a bound on
//     how many run at once.
//   - A new connection of a device closes the old one.
//   - Writes never block a goroutine of another client, and PUBACKs are gathered (see conn).
//   - A topic outside the device's own subtree closes the connection with a logged reason.
package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// Handler is told what devices do. Calls about one session come from one goroutine, in order: Connected,
// any number of Subscribed and Publish, Disconnected. Calls about different sessions are concurrent.
type Handler interface {
	// Connected may refuse the device. An error that wraps ErrRefused is told to it as "not authorized",
	// any other as "server unavailable".
	Connected(s *Session) error
	// Subscribed says that the session's device now receives on some of its down channels.
	Subscribed(s *Session)
	// Publish takes one message; payload is valid until it returns. It may block, and with it only this device: that is the back-pressure
	// (see Session.Busy). When it returns nil the PUBACK goes out, for a record within a moment (see conn); an
	// error closes the connection.
	Publish(s *Session, c protocol.Channel, payload []byte) error
	// Disconnected is called once for each session that Connected accepted. takenOver says that a newer
	// session of the same device is there.
	Disconnected(s *Session, takenOver bool)
}

// ErrRefused is wrapped by Handler.Connected when the device may not connect.
var ErrRefused = errors.New("device refused")

// Identify says who a connection is, from its TLS state. clientID is what CONNECT claims.
type Identify func(c net.Conn, clientID string) (tenant, device string, err error)

// Options configures a Broker. Handler and Identify are required.
type Options struct {
	Handler      Handler
	Identify     Identify
	TLS          *tls.Config   // nil serves plain TCP: for measurements only
	MaxClients   int           // 0 means 200,000
	MaxPacket    int           // bytes of one packet; 0 means protocol.MaxMessage and 1 KiB for its topic
	MaxKeepAlive time.Duration // longest silence of a client, whatever it asks for; 0 means 5 minutes
	Handshake    time.Duration // from accept to CONNECT; 0 means 10 seconds
	Handshakes   int           // how many run at once; 0 means 256
	Logger       *slog.Logger  // nil discards
}

// Broker serves devices. Its methods are safe for concurrent use.
type Broker struct {
	opts     Options
	log      *slog.Logger
	gate     chan struct{} // a slot for each running handshake
	accepted atomic.Int64
	conns    sync.WaitGroup

	mu       sync.RWMutex
	sessions map[string]*Session // by "tenant/device", the newest of each
	open     map[net.Conn]struct{}
	closing  bool

	stats Stats
}

// Stats counts what happened since the start.
type Stats struct {
	Connected   atomic.Int64 // now
	Refused     atomic.Int64 // handshakes and CONNECTs
	Violations  atomic.Int64 // connections closed for what the client did
	Panics      atomic.Int64
	TakenOver   atomic.Int64
	Handshaking atomic.Int64 // now
}

// New returns a Broker that does not serve yet.
func New(opts Options) (*Broker, error) {
	if opts.Handler == nil || opts.Identify == nil {
		return nil, errors.New("broker: Handler and Identify are required")
	}
	setDefault(&opts.MaxClients, 200_000)
	setDefault(&opts.MaxPacket, protocol.MaxMessage+1<<10)
	setDefault(&opts.MaxKeepAlive, 5*time.Minute)
	setDefault(&opts.Handshake, 10*time.Second)
	setDefault(&opts.Handshakes, 256)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Broker{
		opts:     opts,
		log:      opts.Logger,
		gate:     make(chan struct{}, opts.Handshakes),
		sessions: map[string]*Session{},
		open:     map[net.Conn]struct{}{},
	}, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Stats returns the live counters.
func (b *Broker) Stats() *Stats { return &b.stats }

// Session returns the session of a connected device.
func (b *Broker) Session(tenant, device string) (*Session, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	s, ok := b.sessions[tenant+"/"+device]
	return s, ok
}

// Send queues a message for a device on this broker; false means that it is not connected, has not
// subscribed, or does not read.
func (b *Broker) Send(tenant, device string, c protocol.Channel, payload []byte) bool {
	s, ok := b.Session(tenant, device)
	return ok && s.Send(c, payload)
}

// Serve accepts devices from l until ctx ends, and returns when every connection is closed and its
// Disconnected has returned. A Broker serves once. Serve closes l.
func (b *Broker) Serve(parent context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(parent)
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		l.Close()
		b.closeAll()
	})
	defer stop()
	b.conns.Add(1)
	go b.tidy(ctx)
	var err error
	for {
		var c net.Conn
		if c, err = l.Accept(); err != nil {
			if ctx.Err() == nil && temporary(err) {
				b.log.Warn("cannot accept devices", "error", err)
				time.Sleep(50 * time.Millisecond) // out of file descriptors: existing connections go on
				continue
			}
			break
		}
		b.accepted.Add(1)
		b.conns.Add(1)
		go b.handle(ctx, c)
	}
	cancel()
	l.Close()
	b.closeAll()
	b.conns.Wait()
	if parent.Err() != nil {
		return nil
	}
	return fmt.Errorf("accept devices: %w", err)
}

// A return of many devices is over when fewer than calm come in one period.
const (
	period = 10 * time.Second
	many   = 256
	calm   = 16
)

// tidy gives memory back to the system once many devices have connected: their handshakes leave deep
// stacks and as much garbage as the connections themselves need, and devices that are silent from then on
// make no work that would have it collected.
func (b *Broker) tidy(ctx context.Context) {
	defer b.conns.Done()
	tick := time.NewTicker(period)
	defer tick.Stop()
	last, came := int64(0), int64(0)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		n := b.accepted.Load()
		fresh := n - last
		last, came = n, came+fresh
		if came >= many && fresh < calm {
			came = 0
			debug.FreeOSMemory()
			debug.FreeOSMemory() // each collection halves the stacks that are too large
		}
	}
}

func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (b *Broker) closeAll() {
	b.mu.Lock()
	b.closing = true
	open := make([]net.Conn, 0, len(b.open))
	for c := range b.open {
		open = append(open, c)
	}
	b.mu.Unlock()
	for _, c := range open {
		c.Close()
	}
}

// handle serves one connection from accept to end. A panic ends this connection only.
func (b *Broker) handle(ctx context.Context, tcp net.Conn) {
	defer b.conns.Done()
	defer tcp.Close()
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return
	}
	b.open[tcp] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.open, tcp)
		b.mu.Unlock()
	}()
	c := &conn{Conn: tcp, b: b, soon: true}
	defer func() {
		if p := recover(); p != nil {
			b.stats.Panics.Add(1)
			b.log.Error("panic while serving a device", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
		b.end(c)
	}()

	tcp.SetDeadline(time.Now().Add(b.opts.Handshake))
	if t, ok := tcp.(*net.TCPConn); ok {
		t.SetNoDelay(true)
	}
	if b.opts.TLS != nil {
		secure, err := b.handshake(ctx, tcp)
		if err != nil {
			b.stats.Refused.Add(1)
			b.log.Info("device refused", "stage", "handshake", "reason", withoutAddress(err))
			return
		}
		c.Conn = secure
	}
	err := c.serve()
	c.Close()
	if s := c.session; s != nil {
		b.log.Debug("device connection ended", "tenant", s.Tenant, "device", s.Device, "reason", err.Error())
	}
}

// handshake does TLS with a bound on how many run at once, so that a fleet that comes back together is
// served one after the other instead of all too late.
func (b *Broker) handshake(ctx context.Context, tcp net.Conn) (*tls.Conn, error) {
	b.stats.Handshaking.Add(1)
	defer b.stats.Handshaking.Add(-1)
	ctx, cancel := context.WithTimeout(ctx, b.opts.Handshake)
	defer cancel()
	select {
	case b.gate <- struct{}{}:
		defer func() { <-b.gate }()
	case <-ctx.Done():
		return nil, errors.New("too many handshakes at once")
	}
	// A client holds a slot no longer than this, so that silent ones cannot starve the others.
	tcp.SetDeadline(time.Now().Add(b.opts.Handshake / 2))
	secure := tls.Server(tcp, b.opts.TLS)
	// In a goroutine of its own, which takes the deep stack of a handshake with it: the one that serves the
	// connection would keep it for as long as the device is there.
	done := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				b.stats.Panics.Add(1)
				done <- fmt.Errorf("panic in the handshake: %v", p)
			}
		}()
		done <- secure.HandshakeContext(ctx)
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	tcp.SetDeadline(time.Now().Add(b.opts.Handshake))
	return secure, nil
}

// begin makes s the session of its device and closes the one before.
func (b *Broker) begin(s *Session) {
	b.mu.Lock()
	old := b.sessions[s.key]
	b.sessions[s.key] = s
	b.mu.Unlock()
	b.stats.Connected.Add(1)
	if old != nil {
		b.stats.TakenOver.Add(1)
		old.conn.Conn.Close() // not conn.Close: an old client that does not read must not hold up the new one
	}
}

// end tells the handler that the session of c is over, if it ever began.
func (b *Broker) end(c *conn) {
	s := c.session
	if s == nil {
		return
	}
	b.mu.Lock()
	takenOver := b.sessions[s.key] != s
	if !takenOver {
		delete(b.sessions, s.key)
	}
	b.mu.Unlock()
	b.stats.Connected.Add(-1)
	b.opts.Handler.Disconnected(s, takenOver)
}

// violation counts and logs what a device did wrong, and returns why, which ends its connection.
func (b *Broker) violation(s *Session, why error) error {
	b.stats.Violations.Add(1)
	b.log.Warn("device disconnected", "tenant", s.Tenant, "device", s.Device, "reason", why.Error())
	return why
}

// withoutAddress is the text of a connection's error without where it came from: the address of a home is
// personal.
func withoutAddress(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}
