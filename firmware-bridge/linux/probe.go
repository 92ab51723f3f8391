package linux

import (
	"context"
	"errors"
	"math"
	"math/bits"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// A probe that is not answered within these is lost.
const (
	pingTimeout = time.Second
	dnsTimeout  = 2 * time.Second
)

// Ratios are over the last probes: one lost ping of 20, one failed query of 8.
const (
	pingWindow = 20
	dnsWindow  = 8
)

// probes keeps what is asked over and over: the gateway, a host on the internet, the cloud, resolvers.
// Each is asked at most once at a time, in a goroutine of its own, so that a slow one delays nobody.
type probes struct {
	name    string // asked of resolvers
	targets []*target
	wg      sync.WaitGroup
	ctx     context.Context //nolint:containedctx // ends with close, which waits for wg
	cancel  context.CancelFunc
}

// target is something that is probed. The zero window says nothing yet.
type target struct {
	role  string // "gateway", "wan", "cloud" or "dns"
	addr  netip.Addr
	name  string // addr as text
	ask   func(ctx context.Context) (time.Duration, error)
	close func() // frees what ask keeps; called when nobody asks any more; may be nil

	mu      sync.Mutex
	busy    bool
	began   time.Time
	last    time.Duration // of the last answer; negative when the last probe failed
	window  uint32        // outcomes, the newest in the lowest bit, 1 for a failure
	size    int
	asked   int  // outcomes so far
	heard   bool // it answered once
	gone    bool // nobody wants to know any more
	skipped int  // rounds since an alternative resolver was asked
}

func (p *probes) get(role string, addr netip.Addr) *target {
	for _, t := range p.targets {
		if t.role == role && t.addr == addr {
			return t
		}
	}
	return nil
}

// want returns the target and makes it if need be.
func (p *probes) want(role string, addr netip.Addr, ask func(context.Context) (time.Duration, error)) *target {
	if t := p.get(role, addr); t != nil {
		return t
	}
	t := &target{role: role, addr: addr, name: addr.String(), ask: ask, size: pingWindow, last: -1}
	if role == "dns" {
		t.size = dnsWindow
	}
	p.targets = append(p.targets, t)
	return t
}

// ping returns the target of pings to an address.
func (p *probes) ping(role string, addr netip.Addr) *target {
	if t := p.get(role, addr); t != nil {
		return t
	}
	var pings pinger
	t := p.want(role, addr, func(ctx context.Context) (time.Duration, error) { return pings.ask(ctx, addr) })
	t.close = pings.close
	return t
}

// query returns the target of queries to a resolver.
func (p *probes) query(addr netip.Addr) *target {
	if t := p.get("dns", addr); t != nil {
		return t
	}
	return p.want("dns", addr, querier(addr, p.name))
}

// keep forgets all targets but these.
func (p *probes) keep(wanted []*target) {
	p.targets = slices.DeleteFunc(p.targets, func(t *target) bool {
		if slices.Contains(wanted, t) {
			return false
		}
		t.forget()
		return true
	})
}

// round asks all targets that are not being asked, and waits until they answered, at most for wait.
func (p *probes) round(ctx context.Context, targets []*target, wait time.Duration) {
	if p.ctx == nil {
		p.ctx, p.cancel = context.WithCancel(context.Background())
	}
	done := make(chan struct{}, len(targets))
	n := 0
	for _, t := range targets {
		if !t.begin() {
			continue
		}
		n++
		p.wg.Go(func() {
			took, err := t.ask(p.ctx)
			t.end(took, err)
			done <- struct{}{}
		})
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for ; n > 0; n-- {
		select {
		case <-done:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (p *probes) close() {
	if p.cancel != nil {
		p.cancel()
	}
	p.wg.Wait()
	p.keep(nil)
}

// forget frees what the target keeps, now or once the present probe has ended.
func (t *target) forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gone = true
	if !t.busy && t.close != nil {
		t.close()
	}
}

func (t *target) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy {
		return false
	}
	t.busy, t.began = true, time.Now()
	return true
}

// errNoOutcome is returned by a target's ask when nothing was learned about it.
var errNoOutcome = errors.New("no outcome")

func (t *target) end(took time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = false
	if t.gone && t.close != nil {
		t.close()
	}
	if errors.Is(err, errForbidden) || errors.Is(err, errNoOutcome) || errors.Is(err, context.Canceled) {
		return
	}
	t.window <<= 1
	t.asked++
	if err != nil {
		t.window |= 1
		t.last = -1
		return
	}
	t.last, t.heard = took, true
}

// latency in milliseconds of the last answer, NaN when the last probe failed or there is no target. A probe
// that still waits counts with what it has waited so far, so that a stall shows before it times out.
func (t *target) latency() float64 {
	if t == nil {
		return math.NaN()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.last
	if t.busy {
		v = max(v, time.Since(t.began))
	}
	if v < 0 {
		return math.NaN()
	}
	return float64(v) / 1e6
}

// failures is the share of the last probes that failed, NaN before the first outcome or without a target.
func (t *target) failures() float64 {
	if t == nil {
		return math.NaN()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(t.asked, t.size)
	if n == 0 {
		return math.NaN()
	}
	return float64(bits.OnesCount32(t.window&(1<<n-1))) / float64(n)
}

// alive is whether the last outcome was good. A target that is not there is not alive.
func (t *target) alive() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.asked > 0 && t.window&1 == 0
}

// mute is whether no probe was answered, as far back as the window goes.
func (t *target) mute() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.heard || t.asked >= t.size && bits.OnesCount32(t.window&(1<<t.size-1)) == t.size
}

// pinger asks by ICMP echo, through the same socket for as long as answers come. The zero pinger is ready; one goroutine at a
// time may use it.
type pinger struct{ socket *echoSocket }

func (p *pinger) ask(ctx context.Context, to netip.Addr) (time.Duration, error) {
	if p.socket == nil {
		var err error
		if p.socket, err = openEcho(0); err != nil {
			return 0, err
		}
	}
	e, err := p.socket.ask(ctx, to, pingTimeout)
	if err != nil {
		p.close() // what comes late must not be taken for the outcome of the next
	}
	return e.took, err
}

func (p *pinger) close() {
	if p.socket != nil {
		p.socket.close()
		p.socket = nil
	}
}

// pings asks by ICMP echo, each time through a socket of its own.
func pings(to netip.Addr) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		e, err := ping(ctx, to, 0, pingTimeout)
		return e.took, err
	}
}

// querier asks a resolver for a name.
func querier(addr netip.Addr, name string) func(context.Context) (time.Duration, error) {
	return func(ctx context.Context) (time.Duration, error) {
		a, err := query(ctx, addr, name, dnsTimeout)
		return a.took, err
	}
}

// cloudAsker asks the cloud by ICMP, and by opening a TCP connection, at most every 30 s, for as long
// as no ping was ever answered: many networks drop pings, and a connection costs the cloud more.
type cloudAsker struct {
	host, port string
	resolvers  func() []netip.Addr
	pings      pinger
	addr       netip.Addr
	resolved   time.Time
	pinged     bool // a ping was answered once
	connected  time.Time
}

const cloudAddrLife = 5 * time.Minute

// ask is called by one goroutine at a time.
func (c *cloudAsker) ask(ctx context.Context) (time.Duration, error) {
	if !c.addr.IsValid() || time.Since(c.resolved) > cloudAddrLife {
		addr, err := lookup(ctx, c.resolvers(), c.host)
		if err == nil {
			c.addr, c.resolved = addr, time.Now()
		} else if !c.addr.IsValid() {
			return 0, errNoOutcome // a resolver's fault is not the cloud's
		}
	}
	if c.addr.Is4() {
		took, err := c.pings.ask(ctx, c.addr)
		if err == nil {
			c.pinged = true
			return took, nil
		}
		if c.pinged || ctx.Err() != nil {
			return 0, err
		}
	}
	if time.Since(c.connected) < 30*time.Second {
		return 0, errNoOutcome
	}
	c.connected = time.Now()
	return connect(ctx, net.JoinHostPort(c.addr.String(), c.port), pingTimeout)
}

// connect measures how long a TCP connection takes to open, and drops it.
func connect(ctx context.Context, address string, timeout time.Duration) (time.Duration, error) {
	began := time.Now()
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", address)
	took := time.Since(began)
	if err != nil {
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return 0, errTimeout
		}
		return 0, errUnreachable
	}
	if t, ok := conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0) // leaves no TIME_WAIT behind
	}
	conn.Close()
	return took, nil
}
