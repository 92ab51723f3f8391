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

func signal(t *testing.T, session, kind string) []byte {
	t.Helper()
	b, err := protocol.Marshal(&protocol.Signal{Version: protocol.Version, Session: session, Kind: kind, Body: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABrowserHearsItsOwnDeviceOnlyAndFromTheFirstWord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRelay(nil)
		for _, from := range []struct{ tenant, device, session string }{
			{"t1", "hub-1", "s1"}, {"t1", "hub-2", "s1"}, {"t2", "hub-1", "s1"}, {"t1", "hub-1", "s2"},
		} {
			if err := r.Deliver(from.tenant, from.device, signal(t, from.session, "answer")); err != nil {
				t.Fatal(err)
			}
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
		if err := r.Deliver("t1", "hub-1", signal(t, "s1", "candidate")); err != nil {
			t.Fatal(err)
		}
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
		for range maxSignals {
			if err := r.Deliver("t", "d", signal(t, "s", "candidate")); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Deliver("t", "d", signal(t, "s", "candidate")); !errors.Is(err, protocol.ErrInvalid) {
			t.Errorf("one signal too many: got %v", err)
		}
		time.Sleep(keepSignals + time.Second)
		if err := r.Deliver("t", "d", signal(t, "other", "answer")); err != nil {
			t.Fatal(err)
		}
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
