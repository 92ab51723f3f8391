// Package uplink carries the outbox to the cloud over MQTT 3.1.1 and brings back what the cloud says.
//
// Delivery is end to end: the broker's PUBACK frees nothing, only the cloud's Ack does, so any broker will
// do and one that forgets loses nothing. paho is used as a plain client: it keeps no queue, stores no
// message, never reconnects by itself and leaves the keep-alive to this package.
//
//	connect (with jitter) -> subscribe -> say online -> send from the last ack, events first
//	      ^                                                |
//	      +--- lost, or silent for too long ---------------+ resend on timeout or when acks stand still
//
// When the cloud offers to tell the time, it is asked, and once an hour from then on. While the time is not
// known, commands wait for the answer: it decides whether they have expired.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// spool is what the uplink needs of the outbox.
type spool interface {
	Read(l protocol.Lane, from agent.Place, maxRecords, maxBytes int) (agent.Run, error)
	Acked(l protocol.Lane, epoch, committed uint64) (from, to uint64)
	Acknowledged(l protocol.Lane, epoch uint64) (seq uint64, ok bool)
	Changed() <-chan struct{}
	Boot() uint64
}

// Options configures an Uplink. Tenant, Device, Dial, Spool and Clock are required.
type Options struct {
	Tenant string
	Device string // also the MQTT client id
	Dial   func(ctx context.Context) (net.Conn, error)
	Spool  spool
	Clock  *agent.Clock

	// Called from the uplink's goroutine, in the order of arrival; they must not block. Any may be nil.
	OnCommand  func(signed []byte)
	OnAssist   func(protocol.Signal)
	OnModel    func(signed []byte)
	OnTime     func(signed []byte) error                     // the answer to Clock.Ask, which it gives to Clock; nil: the time is never asked for
	Model      func() string                                 // the state's Model; nil says nothing of it
	OnAcked    func(l protocol.Lane, epoch, from, to uint64) // sequences now known to be committed
	OnRestored func(ctx context.Context, down time.Duration, why string, attempts int)

	// Spread is the range of the random moment at which the first attempt comes, after a start as after a loss.
	// 0 means 40s: a town whose power returns, or a cloud that was restarted, then sees 2.5 % of its devices in
	// a second, and the last of them long before anybody asks where they are. Shorter is faster for one home
	// and worse for all: half of it doubles what the cloud must be able to shake hands with.
	Spread time.Duration
	// AtOnce makes the very first attempt without Spread, for a device that was just enrolled: a person stands
	// before it and waits, and enrolments do not come by the town.
	AtOnce bool

	MaxBackoff    time.Duration // later attempts come within this, in its second half; 0 means 60s
	KeepAlive     time.Duration // 0 means 30s; a dead network is noticed within this plus 10s
	AckTimeout    time.Duration // unacknowledged records are sent again after this, doubled each time; 0 means 10s
	WindowRecords int           // unacknowledged records in flight per lane; 0 means 256
	WindowBytes   int           // and their bytes; 0 means 256 KiB
	Log           *slog.Logger  // nil means discard
}

// Uplink is one device's connection. Run may be called once; the other methods are safe for concurrent use.
type Uplink struct {
	opts    Options
	signals chan protocol.Signal
	online  atomic.Bool
	lanes   [2]lane
	tries   int       // attempts since the connection was lost
	since   time.Time // when it was lost
	why     string    // the last reason, as Classify names it
	time    timekeeper
}

// New checks the options. It starts nothing.
func New(opts Options) (*Uplink, error) {
	if err := errors.Join(protocol.CheckID("tenant", opts.Tenant), protocol.CheckID("device", opts.Device)); err != nil {
		return nil, fmt.Errorf("uplink: %w", err)
	}
	if opts.Dial == nil || opts.Spool == nil || opts.Clock == nil {
		return nil, errors.New("uplink: Dial, Spool and Clock are required")
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&opts.Spread, 40 * time.Second}, {&opts.MaxBackoff, time.Minute}, {&opts.KeepAlive, 30 * time.Second}, {&opts.AckTimeout, 10 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if opts.WindowRecords == 0 {
		opts.WindowRecords = 256
	}
	if opts.WindowBytes == 0 {
		opts.WindowBytes = 256 << 10
	}
	if opts.Model == nil {
		opts.Model = func() string { return "" }
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	u := &Uplink{opts: opts, signals: make(chan protocol.Signal, 32)}
	for i, c := range []protocol.Channel{protocol.UpEvent, protocol.UpTelemetry} {
		id, _ := c.Lane()
		u.lanes[i] = lane{id: id, topic: protocol.Topic(opts.Tenant, opts.Device, c), opts: &u.opts}
	}
	return u, nil
}

// Online reports whether the broker is connected.
func (u *Uplink) Online() bool { return u.online.Load() }

// Signal sends one step of a remote session, if the device is online; it is not kept otherwise. It
// reports whether it was taken.
func (u *Uplink) Signal(s protocol.Signal) bool {
	if !u.online.Load() {
		return false
	}
	select {
	case u.signals <- s:
		return true
	default:
		return false
	}
}

// Run connects and reconnects until ctx ends; then it says goodbye and returns nil.
func (u *Uplink) Run(ctx context.Context) error {
	u.since = time.Now()
	wait := u.backoff()
	if u.opts.AtOnce {
		wait = 0
	}
	for ; ; wait = u.backoff() {
		if !sleep(ctx, wait) {
			return nil
		}
		u.tries++
		start := time.Now()
		err := u.session(ctx)
		u.online.Store(false)
		if ctx.Err() != nil {
			return nil
		}
		if why := Classify(err); why != u.why || u.tries == 1 {
			u.why = why
			u.opts.Log.Warn("uplink is down", "why", why, "error", err, "after", time.Since(start).Round(time.Millisecond))
		}
	}
}

// backoff is full jitter for the first attempt and equal jitter for those after it, within a range that
// doubles (M. Brooker, "Exponential Backoff And Jitter", 2015). With full jitter throughout, second attempts
// would fall among the first ones of others: a cloud that is back after half a minute would meet twice as
// many in a second.
func (u *Uplink) backoff() time.Duration {
	limit := min(u.opts.Spread<<min(u.tries, 10), max(u.opts.MaxBackoff, u.opts.Spread))
	if u.tries == 0 {
		return rand.N(limit)
	}
	return limit/2 + rand.N(limit-limit/2)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// errSilent ends a session in which the cloud does not answer although the broker does.
var errSilent = errors.New("the cloud does not acknowledge")

// session lasts from one connection to its loss.
func (u *Uplink) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lost := make(chan error, 1)
	down := make(chan mqtt.Message)
	var kept atomic.Pointer[keptConn]
	c := mqtt.NewClient(u.clientOptions(ctx, &kept, lost, down))
	if err := wait(ctx, c.Connect(), u.opts.KeepAlive); err != nil {
		go c.Disconnect(0) // an attempt that still hangs ends by its own timeout
		return fmt.Errorf("connect: %w", err)
	}
	defer func() {
		if ctx.Err() != nil && c.IsConnectionOpen() {
			c.Publish(protocol.Topic(u.opts.Tenant, u.opts.Device, protocol.UpState), 1, true, u.state(false)).WaitTimeout(time.Second)
		}
		cancel() // lets a waiting delivery go, which Disconnect would wait for
		c.Disconnect(100)
	}()
	filter := protocol.DownFilter(u.opts.Tenant, u.opts.Device)
	sub := c.Subscribe(filter, 1, nil)
	if err := wait(ctx, sub, u.opts.KeepAlive); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if code := sub.(*mqtt.SubscribeToken).Result()[filter]; code > 2 {
		return fmt.Errorf("subscribe %s: %w", filter, errRefused)
	}
	c.Publish(protocol.Topic(u.opts.Tenant, u.opts.Device, protocol.UpState), 1, true, u.state(true))
	u.connected(ctx)
	return u.serve(ctx, c, kept.Load(), lost, down)
}

func (u *Uplink) connected(ctx context.Context) {
	u.online.Store(true)
	outage, why, tries := time.Since(u.since), u.why, u.tries
	u.opts.Log.Info("uplink is up", "attempts", tries, "down", outage.Round(time.Millisecond))
	if why != "" && u.opts.OnRestored != nil {
		u.opts.OnRestored(ctx, outage, why, tries)
	}
	u.tries, u.why = 0, ""
}

// serve sends and receives until the connection is lost or ctx ends.
func (u *Uplink) serve(ctx context.Context, c mqtt.Client, conn *keptConn, lost <-chan error, down <-chan mqtt.Message) error {
	defer func() { u.since = time.Now() }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for i := range u.lanes {
		u.lanes[i].reset()
	}
	u.time.connected()
	var sendAt time.Time // only what happened makes it sooner: a ping does not ask the outbox
	for {
		if now := time.Now(); !now.Before(sendAt) {
			wait, err := u.send(c, now)
			if err != nil {
				return err
			}
			sendAt = now.Add(wait)
		}
		ping, err := conn.keep()
		if err != nil {
			return err
		}
		timer.Reset(min(time.Until(sendAt), ping, u.keepTime(c)))
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return err
		case <-u.opts.Spool.Changed():
		case m := <-down:
			u.receive(c, m)
		case s := <-u.signals:
			if b, err := protocol.Marshal(&s); err == nil {
				c.Publish(protocol.Topic(u.opts.Tenant, u.opts.Device, protocol.UpAssist), 1, false, b)
			}
		}
		sendAt = time.Time{}
	}
}

// send fills the windows, events first, and returns how long nothing needs to be done.
func (u *Uplink) send(c mqtt.Client, now time.Time) (time.Duration, error) {
	for i := range u.lanes {
		l := &u.lanes[i]
		if err := l.checkTimeout(now); err != nil {
			return 0, err
		}
		if err := l.declareLost(c); err != nil {
			return 0, err
		}
		more, err := l.fill(c, now)
		if err != nil {
			return 0, err
		}
		if more {
			break // telemetry waits until all events are under way
		}
	}
	next := time.Hour
	for i := range u.lanes {
		next = min(next, u.lanes[i].nextTimeout(now))
	}
	return next, nil
}

func (u *Uplink) receive(c mqtt.Client, m mqtt.Message) {
	_, _, channel, err := protocol.ParseTopic(m.Topic())
	if err != nil {
		u.opts.Log.Warn("message on an unknown topic", "error", err)
		return
	}
	switch channel {
	case protocol.DownAck:
		var a protocol.Ack
		if err = protocol.Unmarshal(m.Payload(), &a); err == nil {
			u.acked(a)
		}
	case protocol.DownAssist:
		var s protocol.Signal
		if err = protocol.Unmarshal(m.Payload(), &s); err == nil && u.opts.OnAssist != nil {
			u.opts.OnAssist(s)
		}
	case protocol.DownCommand:
		u.command(m.Payload())
	case protocol.DownTime:
		err = u.told(m.Payload())
	case protocol.DownModel:
		if u.opts.OnModel != nil {
			before := u.opts.Model()
			if u.opts.OnModel(m.Payload()); u.opts.Model() != before {
				c.Publish(protocol.Topic(u.opts.Tenant, u.opts.Device, protocol.UpState), 1, true, u.state(true))
			}
		}
	}
	if err != nil {
		u.opts.Log.Warn("message refused", "channel", string(channel), "error", err)
	}
}

func (u *Uplink) acked(a protocol.Ack) {
	from, to := u.opts.Spool.Acked(a.Lane, a.Epoch, a.Committed)
	if to > 0 && u.opts.OnAcked != nil {
		u.opts.OnAcked(a.Lane, a.Epoch, from, to)
	}
	for i := range u.lanes {
		if u.lanes[i].id == a.Lane {
			u.lanes[i].acked(a, to > 0, time.Now())
		}
	}
}
