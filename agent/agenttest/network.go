package agenttest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Network is a TCP relay to a broker that can be broken in the ways that real ones are.
type Network struct {
	Address string // host:port to connect to

	to       string
	listener net.Listener
	hole     atomic.Bool // swallow everything, close nothing
	refuse   atomic.Bool // close new connections at once
	accepted atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// NewNetwork relays to the address until the test ends.
func NewNetwork(t testing.TB, to string) *Network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &Network{Address: l.Addr().String(), to: to, listener: l, conns: map[net.Conn]bool{}}
	n.wg.Go(n.accept)
	t.Cleanup(func() {
		_ = l.Close()
		n.Cut()
		n.wg.Wait()
	})
	return n
}

func (n *Network) accept() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			return
		}
		n.accepted.Add(1)
		if n.refuse.Load() {
			_ = c.Close()
			continue
		}
		up, err := net.Dial("tcp", n.to)
		if err != nil {
			_ = c.Close()
			continue
		}
		n.mu.Lock()
		n.conns[c], n.conns[up] = true, true
		n.mu.Unlock()
		n.wg.Go(func() { n.relay(c, up) })
		n.wg.Go(func() { n.relay(up, c) })
	}
}

func (n *Network) relay(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 16<<10)
	for {
		k, err := from.Read(buf)
		if err != nil {
			return
		}
		if n.hole.Load() {
			continue
		}
		if _, err := to.Write(buf[:k]); err != nil {
			return
		}
	}
}

// Blackhole swallows everything without closing anything, or stops doing so.
func (n *Network) Blackhole(on bool) { n.hole.Store(on) }

// Refuse closes every new connection at once, or stops doing so.
func (n *Network) Refuse(on bool) { n.refuse.Store(on) }

// Accepted is how many connections were tried.
func (n *Network) Accepted() int { return int(n.accepted.Load()) }

// Cut closes every connection.
func (n *Network) Cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		_ = c.Close()
	}
	clear(n.conns)
}
