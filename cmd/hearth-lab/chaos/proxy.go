package chaos

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// weather is what the network between devices and cloud does at the moment.
type weather int

const (
	fair      weather = iota
	lossy             // one chunk in five comes late, as TCP makes of 20 % loss
	blackhole         // bytes vanish into open connections, new ones hang
	down              // connections are refused and reset
)

// proxy stands between devices and cloud and makes the weather.
type proxy struct {
	l      net.Listener
	target string

	mu      sync.Mutex
	weather weather
	change  chan struct{} // closed and replaced with the weather
	conns   map[net.Conn]struct{}
	wg      sync.WaitGroup
}

func newProxy(target string) (*proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{l: l, target: target, change: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	p.wg.Go(p.accept)
	return p, nil
}

func (p *proxy) addr() string { return p.l.Addr().String() }

func (p *proxy) set(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
	close(p.change)
	p.change = make(chan struct{})
	if w == down {
		p.cut()
	}
}

// cut resets every connection. p.mu is held.
func (p *proxy) cut() {
	for c := range p.conns {
		if t, ok := c.(*net.TCPConn); ok {
			t.SetLinger(0)
		}
		c.Close()
	}
}

func (p *proxy) now() (weather, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weather, p.change
}

func (p *proxy) close() {
	p.l.Close()
	p.set(down)
	p.wg.Wait()
}

func (p *proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *proxy) serve(near net.Conn) {
	defer near.Close()
	if !p.keep(near) {
		return
	}
	defer p.drop(near)
	far, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		return
	}
	defer far.Close()
	if !p.keep(far) {
		return
	}
	defer p.drop(far)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{near, far}, {far, near}} {
		wg.Go(func() {
			p.copy(ctx, way[1], way[0])
			cancel()
			near.Close()
			far.Close()
		})
	}
	wg.Wait()
}

func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.weather == down {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *proxy) drop(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// copy carries one direction. A connection that has met a blackhole stays deaf: its bytes are gone, so
// nothing that comes later may be taken for what came next.
func (p *proxy) copy(ctx context.Context, to io.Writer, from io.Reader) {
	buf := make([]byte, 16<<10)
	deaf := false
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		w, change := p.now()
		if w == lossy && rand.N(5) == 0 {
			select {
			case <-time.After(200*time.Millisecond + rand.N(time.Second)): // a retransmission timeout or a few
			case <-change:
			case <-ctx.Done():
				return
			}
		}
		if deaf = deaf || w == blackhole; deaf {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
