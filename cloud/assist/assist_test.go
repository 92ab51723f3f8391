package assist

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pion/turn/v5"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/protocol"
)

func signal(session, kind string) protocol.Signal {
	return protocol.Signal{Version: protocol.Version, Session: session, Kind: kind, Body: "x"}
}

func TestABrowserHearsItsOwnDeviceOnlyAndFromTheFirstWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRelay(nil)
		for _, from := range []struct{ tenant, device, session string }{
			{"t1", "hub-1", "s1"}, {"t1", "hub-2", "s1"}, {"t2", "hub-1", "s1"}, {"t1", "hub-1", "s2"},
		} {
			r.Deliver(from.tenant, from.device, signal(from.session, "answer"))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var heard atomic.Int32
		done := make(chan error)
		go func() {
			done <- r.Watch(ctx, "t1", "hub-1", "s1", func(protocol.Signal) error { heard.Add(1); return nil })
		}()
		synctest.Wait()
		if n := heard.Load(); n != 1 {
			t.Errorf("heard %d signals, want the one of its own session", n)
		}
		r.Deliver("t1", "hub-1", signal("s1", "candidate"))
		synctest.Wait()
		if n := heard.Load(); n != 2 {
			t.Errorf("heard %d signals after one more, want 2", n)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("watch ended with %v", err)
		}
	})
}

func TestSignalsAreBoundedAndForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRelay(nil)
		for range maxSignals + 1 {
			r.Deliver("t", "d", signal("s", "candidate"))
		}
		if n := len(r.calls[call{"t", "d", "s"}].signals); n != maxSignals {
			t.Errorf("%d signals kept, limit %d", n, maxSignals)
		}
		time.Sleep(keepSignals + time.Second)
		r.Deliver("t", "d", signal("other", "answer"))
		if n := len(r.calls); n != 1 {
			t.Errorf("%d calls kept, want only the new one", n)
		}
	})
}

func TestWhatABrowserSendsIsChecked(t *testing.T) {
	unreachable := errors.New("no such client")
	r := NewRelay(func(context.Context, string, string, protocol.Channel, []byte) error { return unreachable })
	for _, c := range []struct {
		s    protocol.Signal
		want cloud.Code
	}{
		{protocol.Signal{Session: "s", Kind: "answer"}, cloud.CodeInvalid},
		{protocol.Signal{Session: "s", Kind: "offer", Body: strings.Repeat("x", protocol.MaxSignal+1)}, cloud.CodeInvalid},
		{protocol.Signal{Session: "s", Kind: "offer"}, cloud.CodeUnavailable},
	} {
		if got := cloud.CodeOf(r.ToDevice(t.Context(), "t", "d", c.s)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.s.Kind, got, c.want)
		}
	}
}

func TestTURNRelaysForItsSessionsToAllowedPeersOnly(t *testing.T) {
	probe, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := probe.LocalAddr().String()
	probe.Close()
	server, err := NewTURN(TURNOptions{
		Listen: at, Public: netip.MustParseAddr("127.0.0.1"), Secret: "0123456789abcdef",
		AllowPeers: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	servers, _, err := server.Servers("s1", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	allocate := func(user, password string) (net.PacketConn, *turn.Client, error) {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		client, err := turn.NewClient(&turn.ClientConfig{TURNServerAddr: at, Conn: conn, Username: user, Password: password, Realm: realm, RTO: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Listen(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		relayed, err := client.Allocate()
		return relayed, client, err
	}
	if _, _, err := allocate(servers[1].Username, "wrong"); err == nil {
		t.Error("a wrong password was accepted")
	}
	relayed, client, err := allocate(servers[1].Username, servers[1].Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer relayed.Close()
	if err := client.CreatePermission(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}); err != nil {
		t.Errorf("an allowed peer was refused: %v", err)
	}
	for _, ip := range []string{"10.1.2.3", "192.168.1.1", "169.254.169.254", "127.0.0.2"} {
		if err := client.CreatePermission(&net.UDPAddr{IP: net.ParseIP(ip), Port: 9}); err == nil {
			t.Errorf("relaying to %s was permitted", ip)
		}
	}
	if !server.permit(nil, net.ParseIP("93.184.216.34")) {
		t.Error("a public peer was refused")
	}
}
