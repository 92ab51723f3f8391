package uplink_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/agenttest"
	"github.com/hearthline/hearthline/agent/outbox"
	"github.com/hearthline/hearthline/agent/uplink"
	"github.com/hearthline/hearthline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is one device with a real outbox, a real broker, and a network between them.
type rig struct {
	t      *testing.T
	outbox *outbox.Outbox
	up     *uplink.Uplink
	net    *agenttest.Network
	cloud  *agenttest.Cloud
	acked  chan [2]uint64
	stop   func()
}

func newRig(t *testing.T, broker func(testing.TB, *agenttest.CA) *agenttest.Broker, change ...func(*uplink.Options)) *rig {
	t.Helper()
	ca := agenttest.NewCA(t)
	b := broker(t, ca)
	r := &rig{t: t, net: agenttest.NewNetwork(t, b.Devices), cloud: agenttest.NewCloud(t, b, "hub-1"), acked: make(chan [2]uint64, 1000)}
	id := ca.Identity(t, "hub-1", r.net.Address)
	clock := agent.NewClock()
	var err error
	if r.outbox, err = outbox.Open(outbox.Options{Path: filepath.Join(t.TempDir(), "outbox.db"), Device: "hub-1", Clock: clock}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.outbox.Close() })
	opts := uplink.Options{
		Tenant: "acme", Device: "hub-1", Spool: r.outbox, Clock: clock,
		Dial: uplink.TLSDialer(func() *agent.Identity { return id }, 5*time.Second),
		Log:  slog.New(slog.NewTextHandler(t.Output(), nil)), Spread: 50 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, KeepAlive: 2 * time.Second, AckTimeout: 500 * time.Millisecond,
		OnAcked: func(l protocol.Lane, _, from, to uint64) {
			if l == protocol.LaneEvent {
				r.acked <- [2]uint64{from, to}
			}
		},
	}
	for _, c := range change {
		c(&opts)
	}
	if r.up, err = uplink.New(opts); err != nil {
		t.Fatal(err)
	}
	r.start()
	return r
}

func (r *rig) start() {
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.up.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		r.stop = func() {}
	}
	r.t.Cleanup(func() { r.stop() })
}

func (r *rig) events(n int) {
	r.t.Helper()
	for i := range n {
		if _, err := r.outbox.Event(context.Background(), &protocol.Event{Kind: protocol.EventSymptom, Args: map[string]string{"n": fmt.Sprint(i)}}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) blocks(n int) {
	r.t.Helper()
	for i := range n {
		b, err := protocol.Marshal(&protocol.Block{Version: 1, Codec: protocol.CodecColumns, Schema: 1, Rows: 1, Mono: int64(i), Data: make([]byte, 300)})
		if err == nil {
			err = r.outbox.Telemetry(protocol.KindBlock, b)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
}

// committed waits until the cloud has so many records without a hole.
func (r *rig) committed(events, blocks int) {
	r.t.Helper()
	r.cloud.Await(fmt.Sprintf("%d events and %d blocks, no hole", events, blocks), func(c *agenttest.Cloud) bool {
		e, _ := c.Records(protocol.LaneEvent)
		b, _ := c.Records(protocol.LaneTelemetry)
		return e >= events && b >= blocks && c.Contiguous()
	})
}

func onEveryBroker(t *testing.T, test func(t *testing.T, broker func(testing.TB, *agenttest.CA) *agenttest.Broker)) {
	for name, broker := range agenttest.Brokers {
		t.Run(name, func(t *testing.T) { test(t, broker) })
	}
}

func TestEverythingArrivesOnceThroughARealBroker(t *testing.T) {
	onEveryBroker(t, func(t *testing.T, broker func(testing.TB, *agenttest.CA) *agenttest.Broker) {
		r := newRig(t, broker)
		r.events(20)
		r.blocks(2000)
		r.committed(20, 2000)
		r.cloud.Await("online", func(c *agenttest.Cloud) bool { return len(c.States()) > 0 && c.States()[0].Online })
		r.stop()
		r.cloud.Await("offline", func(c *agenttest.Cloud) bool { return !c.States()[len(c.States())-1].Online })
	})
}

func TestNothingIsLostWhenTheConnectionIsCutAgainAndAgain(t *testing.T) {
	onEveryBroker(t, func(t *testing.T, broker func(testing.TB, *agenttest.CA) *agenttest.Broker) {
		r := newRig(t, broker)
		for round := range 10 {
			r.events(5)
			r.blocks(100)
			r.cloud.Await("a little more", func(c *agenttest.Cloud) bool { n, _ := c.Records(protocol.LaneEvent); return n > 5*round })
			r.net.Cut()
		}
		r.committed(50, 1000)
	})
}

func TestABrokerThatAcceptsAndForgetsLosesNothing(t *testing.T) {
	onEveryBroker(t, func(t *testing.T, broker func(testing.TB, *agenttest.CA) *agenttest.Broker) {
		r := newRig(t, broker)
		n := 0
		r.cloud.Drop(func(protocol.Batch) bool { n++; return n%3 != 0 })
		for range 10 {
			r.events(1)
			r.blocks(10)
		}
		r.committed(10, 100)
	})
}

// anew waits until the device has tried another connection than the ones before.
func (r *rig) anew(before int) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); r.net.Accepted() <= before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("no new connection within 20 s")
		}
	}
}

func TestABlackholeIsNoticedAndLeft(t *testing.T) {
	r := newRig(t, agenttest.Mochi)
	r.events(1)
	r.committed(1, 0)
	before := r.net.Accepted()
	r.net.Blackhole(true)
	r.events(3)
	r.anew(before)
	r.net.Blackhole(false)
	r.net.Cut()
	r.committed(4, 0)
}

func TestASilentCloudMakesTheDeviceConnectAnew(t *testing.T) {
	r := newRig(t, agenttest.Mochi)
	r.cloud.Mute(true)
	r.events(2)
	r.committed(2, 0)
	r.anew(r.net.Accepted())
	r.cloud.Mute(false)
	if got := <-r.acked; got[0] != 1 {
		t.Errorf("first acknowledged %v", got)
	}
}

func TestACloudThatLostWhatItAcknowledgedGetsAGap(t *testing.T) {
	r := newRig(t, agenttest.Mochi)
	r.events(10)
	r.committed(10, 0)
	for to := uint64(0); to < 10; {
		to = (<-r.acked)[1]
	}
	r.cloud.Forget(4)
	r.events(3)
	r.cloud.Await("13 places, 6 of them declared lost", func(c *agenttest.Cloud) bool {
		n, gaps := c.Records(protocol.LaneEvent)
		return n == 13 && gaps == 6 && c.Contiguous()
	})
}

func TestTwoConnectionsOfOneDeviceTakeOverFromEachOther(t *testing.T) {
	onEveryBroker(t, func(t *testing.T, broker func(testing.TB, *agenttest.CA) *agenttest.Broker) {
		ca := agenttest.NewCA(t)
		b := broker(t, ca)
		id := ca.Identity(t, "hub-1", b.Devices)
		cloud := agenttest.NewCloud(t, b, "hub-1")
		clock := agent.NewClock()
		var boxes []*outbox.Outbox
		for range 2 {
			box, err := outbox.Open(outbox.Options{Path: filepath.Join(t.TempDir(), "outbox.db"), Device: "hub-1", Clock: clock})
			if err != nil {
				t.Fatal(err)
			}
			defer box.Close()
			boxes = append(boxes, box)
			up, err := uplink.New(uplink.Options{
				Tenant: "acme", Device: "hub-1", Spool: box, Clock: clock, Spread: 100 * time.Millisecond,
				Dial: uplink.TLSDialer(func() *agent.Identity { return id }, 5*time.Second),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { defer close(done); _ = up.Run(ctx) }()
			defer func() { cancel(); <-done }()
		}
		// Both fight for the one client id; what each has to say arrives all the same.
		for _, box := range boxes {
			if _, err := box.Event(t.Context(), &protocol.Event{Kind: protocol.EventSymptom}); err != nil {
				t.Fatal(err)
			}
		}
		cloud.Await("an event of each", func(c *agenttest.Cloud) bool { n, _ := c.Records(protocol.LaneEvent); return n == 2 })
	})
}

func TestDownMessagesReachTheirHandlers(t *testing.T) {
	got := make(chan string, 10)
	r := newRig(t, agenttest.Mochi, func(o *uplink.Options) {
		o.OnCommand = func(b []byte) { got <- "command " + string(b) }
		o.OnModel = func(b []byte) { got <- "model " + string(b) }
		o.OnAssist = func(s protocol.Signal) { got <- "assist " + s.Kind }
	})
	r.events(1)
	r.committed(1, 0)
	signal, _ := protocol.Marshal(&protocol.Signal{Version: 1, Session: "s", Kind: "offer"})
	r.cloud.Publish(protocol.DownAssist, []byte("not CBOR at all")) // refused, and no harm done
	r.cloud.Publish(protocol.DownAck, []byte{0xff})
	r.cloud.Publish(protocol.DownCommand, []byte("c"))
	r.cloud.Publish(protocol.DownModel, []byte("m"))
	r.cloud.Publish(protocol.DownAssist, signal)
	for _, want := range []string{"command c", "model m", "assist offer"} {
		if g := <-got; g != want {
			t.Errorf("got %q, want %q", g, want)
		}
	}
	if !r.up.Signal(protocol.Signal{Version: 1, Session: "s", Kind: "answer"}) {
		t.Error("the answer was not taken")
	}
	r.cloud.Await("the answer", func(c *agenttest.Cloud) bool { return len(c.Signals()) == 1 })
}

func serve(t *testing.T, config *tls.Config, speak string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if config == nil {
				_, _ = c.Write([]byte(speak))
			} else if s := tls.Server(c, config); s.Handshake() == nil {
				_, _ = s.Read(make([]byte, 1))
			}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

func TestFailuresAreNamedForWhatTheyAre(t *testing.T) {
	ca, other := agenttest.NewCA(t), agenttest.NewCA(t)
	now := time.Now()
	server := func(ca *agenttest.CA, from, until time.Duration) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{ca.Issue(t, "localhost", now.Add(from), now.Add(until))}, ClientAuth: tls.RequireAnyClientCert}
	}
	strict := server(ca, -time.Hour, time.Hour)
	strict.ClientAuth, strict.ClientCAs, strict.MaxVersion = tls.RequireAndVerifyClientCert, other.Pool(), tls.VersionTLS12

	for name, c := range map[string]struct {
		address string
		want    string
	}{
		"a portal that speaks HTTP":         {serve(t, nil, "HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n"), "captive_portal"},
		"a portal with its own certificate": {serve(t, server(other, -time.Hour, time.Hour), ""), "captive_portal"},
		"a server whose certificate is old": {serve(t, server(ca, -72*time.Hour, -48*time.Hour), ""), "certificate"},
		"a server that rejects ours":        {serve(t, strict, ""), "certificate"},
		"nobody there":                      {"127.0.0.1:1", "unreachable"},
		"a name that does not resolve":      {"no-such-name.invalid:8883", "dns"},
	} {
		t.Run(name, func(t *testing.T) {
			id := ca.Identity(t, "hub-1", c.address)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			conn, err := uplink.TLSDialer(func() *agent.Identity { return id }, 5*time.Second)(ctx)
			if err == nil {
				_ = conn.Close()
			}
			if got := uplink.Classify(err); got != c.want {
				t.Errorf("%q for %v, want %q", got, err, c.want)
			}
		})
	}
	if got := uplink.Classify(errors.New("EOF")); got != "lost" {
		t.Errorf("anything else is %q", got)
	}
}

// A hub without a battery for its clock starts in 1970, or wherever its clock was left.
func TestAClockThatIsWrongByYearsDoesNotKeepTheDeviceOut(t *testing.T) {
	ca := agenttest.NewCA(t)
	for name, c := range map[string]struct{ from, until, want time.Time }{
		"clock years behind": {time.Now().AddDate(5, 0, 0), time.Now().AddDate(6, 0, 0), time.Now().AddDate(5, 0, 0)},
		"clock years ahead":  {time.Now().AddDate(-6, 0, 0), time.Now().AddDate(-5, 0, 0), time.Now().AddDate(-5, 0, 0)},
		"clock right":        {time.Now().AddDate(-1, 0, 0), time.Now().AddDate(1, 0, 0), time.Now()},
	} {
		t.Run(name, func(t *testing.T) {
			id := ca.Identity(t, "hub-1", "127.0.0.1:1")
			id.Certificate = ca.Issue(t, "hub-1", c.from, c.until)
			if got := id.TLS().Time(); got.Sub(c.want).Abs() > time.Minute {
				t.Errorf("certificates are checked at %s, want about %s", got, c.want)
			}
		})
	}
}
