package rtnl

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inOwnNetwork runs f on a thread with a network namespace of its own, which ends with it.
func inOwnNetwork(t *testing.T, f func(c *Conn)) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("a network namespace needs root: %v", err)
			return
		}
		c, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		f(c)
	}()
	<-done
}

func TestWhatIsSetIsListedUntilItIsRemoved(t *testing.T) {
	inOwnNetwork(t, func(c *Conn) {
		links, err := c.Links()
		i := slices.IndexFunc(links, func(l Link) bool { return l.Name == "lo" })
		if err != nil || i < 0 || links[i].Up {
			t.Errorf("the new namespace has %+v, %v; want lo, down", links, err)
			return
		}
		lo := links[i].Index
		addr := Addr{Index: lo, Prefix: netip.MustParsePrefix("10.9.9.1/24"), Broadcast: netip.MustParseAddr("10.9.9.255"), Label: "lo:x", Valid: 90 * time.Second}
		route := Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("10.9.9.2"), Source: addr.Prefix.Addr(), Index: lo, Metric: 77, Protocol: unix.RTPROT_DHCP}
		for _, err := range []error{c.SetUp(lo, true), c.ReplaceAddr(addr), c.ReplaceRoute(route)} {
			if err != nil {
				t.Error(err)
				return
			}
		}
		links, err = c.Links()
		if err != nil || !links[slices.IndexFunc(links, func(l Link) bool { return l.Name == "lo" })].Up {
			t.Errorf("lo is not up: %v", err)
		}
		addrs, err := c.Addrs()
		j := slices.IndexFunc(addrs, func(a Addr) bool { return a.Prefix == addr.Prefix })
		if err != nil || j < 0 {
			t.Errorf("addresses %+v, %v", addrs, err)
			return
		}
		if got := addrs[j]; got.Label != "lo:x" || got.Broadcast != addr.Broadcast || got.Valid < 85*time.Second || got.Valid > 90*time.Second || got.Age > 5*time.Second {
			t.Errorf("the address is %+v, want %+v", got, addr)
		}
		if routes, err := c.Routes(); err != nil || !slices.Contains(routes, route) {
			t.Errorf("routes %+v, %v; want %+v among them", routes, err, route)
		}
		for _, err := range []error{c.DeleteRoute(route), c.DeleteAddr(addrs[j])} {
			if err != nil {
				t.Error(err)
			}
		}
		if err := c.DeleteRoute(route); !errors.Is(err, unix.ESRCH) {
			t.Errorf("removing what is not there: %v, want ESRCH", err)
		}
		addrs, err1 := c.Addrs()
		routes, err2 := c.Routes()
		if err1 != nil || err2 != nil || slices.ContainsFunc(addrs, func(a Addr) bool { return a.Prefix == addr.Prefix }) || slices.Contains(routes, route) {
			t.Errorf("after the removal: %+v, %+v; %v, %v", addrs, routes, err1, err2)
		}
		if _, err := c.Neighbours(); err != nil {
			t.Error(err)
		}
	})
}

func TestAClosedConnectionSaysSo(t *testing.T) {
	c, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Links(); err == nil {
		t.Error("no error")
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(AppendAttribute(AppendAttribute(nil, 1, []byte("ab")), 2, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		Attributes(b, func(_ uint16, v []byte) { total += 4 + len(v) })
		if total > len(b) {
			t.Errorf("attributes of %d bytes in %d", total, len(b))
		}
		c := Conn{seq: 1}
		_, _ = c.scan(b, func(uint16, []byte) {})
	})
}
