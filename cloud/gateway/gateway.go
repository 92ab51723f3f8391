// Package gateway is the devices' door: who a device is, what it sends, what it is told.
//
//	device --mTLS, MQTT 3.1.1--> broker --publish hook--> ingest --group commit--> store
//	       <-- acks, commands, the time --                   \--> timeline, telemetry, observers
//	device --HTTPS-------------> enrol  --> ca
//
// Each idea has a package of its own below this one: ca (certificates), enrol (tokens and renewal), broker
// (the embedded MQTT front end), external (any MQTT broker cluster instead), ingest (exactly-once commits),
// command (resend until answered), wake (live screens). This package ties them together and keeps presence.
package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/gateway/broker"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/command"
	"github.com/hearthline/hearthline/cloud/gateway/enrol"
	"github.com/hearthline/hearthline/cloud/gateway/external"
	"github.com/hearthline/hearthline/cloud/gateway/ingest"
	"github.com/hearthline/hearthline/cloud/gateway/wake"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Devices says where a device belongs.
type Devices interface {
	// Home returns the home of a device, or store.ErrNotFound.
	Home(tx store.Tx, device string) (home string, err error)
}

// Timeline appends an entry and runs what follows from it, in the same transaction.
type Timeline interface {
	Append(tx store.Tx, e cloud.Entry) error
}

// Presence keeps who is there. Came and Left may be told the same thing twice.
type Presence interface {
	// Came says that a device is there, with its agent's version and its risk model; "" when not yet known.
	Came(tx store.Tx, home, device, agent, model string, at time.Time) error
	Left(tx store.Tx, home, device string, at time.Time) error
	// Online returns a page of the tenant's devices that are kept as there.
	Online(tx store.Tx, after store.Cursor, limit int) (devices []string, next store.Cursor, err error)
}

// Options configures a Gateway. DB, Dir, Devices, Timeline, Telemetry, Presence and Tenants are required.
type Options struct {
	DB        store.DB
	Dir       string // folder of the certificate authority and the command key; made when missing
	Devices   Devices
	Timeline  Timeline
	Telemetry ingest.Telemetry
	Presence  Presence
	Tenants   func(context.Context) ([]string, error)

	// External reaches devices through a broker of its own instead of the embedded one. Its Handler and
	// Logger are set here, its TLS when nil. Several instances then share Dir and the store.
	External *external.Options

	Listen   string   // MQTT over TLS; "" means ":8883". With External: the host:port that devices are told
	EnrolAt  string   // HTTPS for enrolment and renewal; "" means ":8884"
	Hosts    []string // names and addresses that devices reach this service by, for its certificate; nil means localhost
	PlanKeys func(tenant string) [][]byte

	// Signal takes a step of a remote session from a device; it must not block. May be nil.
	Signal func(tenant, device string, s protocol.Signal)
	// Presented is told which risk model a device scores itself by, when it connects and when it has taken
	// another. One goroutine calls it; when it is slow, some are left out until they connect again. May be nil.
	Presented func(ctx context.Context, tenant, device, model string)
	// Observe takes committed telemetry, in the order of commits; when it is slower than ingest, what it
	// misses is counted and stays in the store. May be nil.
	Observe func(ingest.Committed)

	Clock func() time.Time // nil means time.Now
	// Believed returns the time, and whether it may be believed; while it may not, nothing is taken in. nil:
	// that of Clock may.
	Believed func() (time.Time, bool)
	Logger   *slog.Logger // nil discards
}

// Gateway is the devices' door. Its methods are safe for concurrent use.
type Gateway struct {
	opts     Options
	log      *slog.Logger
	now      func() time.Time
	ca       *ca.CA
	server   *ca.Own
	broker   *broker.Broker // nil with an external one
	link     *external.Link // nil without
	ingest   *ingest.Pipeline
	commands *command.Sender
	key      ed25519.PrivateKey // of commands and models
	enrol    *enrol.Handler
	presence *presence
	observed chan ingest.Committed
	missed   missed
	ctx      context.Context // of Run; for the goroutines of connections
	came     chan place      // devices that have subscribed and may have commands waiting

	models chan scoring // devices that have said by which model they score

	local       wake.Local
	mqtt, https net.Listener
}

// Tables is what the gateway and the packages below it keep.
func Tables() []store.Declared {
	var t []store.Declared
	t = append(t, ingest.Tables()...)
	t = append(t, command.Tables()...)
	t = append(t, enrol.Tables()...)
	return t
}

// New opens the certificate authority and the command key, and checks the options. It listens to nothing.
func New(opts Options) (*Gateway, error) {
	if opts.DB == nil || opts.Dir == "" || opts.Devices == nil || opts.Timeline == nil || opts.Telemetry == nil || opts.Presence == nil || opts.Tenants == nil {
		return nil, errors.New("gateway: DB, Dir, Devices, Timeline, Telemetry, Presence and Tenants are required")
	}
	g := &Gateway{opts: opts, log: opts.Logger, now: opts.Clock, came: make(chan place, 1024), models: make(chan scoring, 4096)}
	if g.log == nil {
		g.log = slog.New(slog.DiscardHandler)
	}
	if g.now == nil {
		g.now = time.Now
	}
	if opts.Listen == "" {
		g.opts.Listen = ":8883"
	}
	if opts.EnrolAt == "" {
		g.opts.EnrolAt = ":8884"
	}
	if len(opts.Hosts) == 0 {
		g.opts.Hosts = []string{"localhost", "127.0.0.1", "::1"}
	}
	var err error
	if g.ca, err = ca.Open(ca.Options{Dir: opts.Dir, Clock: g.now}); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.server = g.ca.Server(g.opts.Hosts...)
	key, err := command.OpenKey(filepath.Join(opts.Dir, "command.key"))
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	g.key = key
	g.presence = newPresence(opts.DB, opts.Devices, opts.Presence, g.log)
	if err := g.build(key); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return g, nil
}

func (g *Gateway) build(key ed25519.PrivateKey) (err error) {
	g.commands, err = command.New(command.Options{
		DB: g.opts.DB, Key: key, Timeline: g.opts.Timeline, Clock: g.now,
		Publish: func(_ context.Context, tenant, device string, signed []byte) bool {
			if g.link != nil { // it may have connected while none of us was there to offer
				g.offerTime(tenant, device)
			}
			return g.send(tenant, device, protocol.DownCommand, signed)
		},
	})
	if err != nil {
		return err
	}
	io := ingest.Options{
		DB: g.opts.DB, Devices: g.opts.Devices, Timeline: g.opts.Timeline, Telemetry: g.opts.Telemetry,
		Commands: g.commands, Ack: g.ack, Unknown: g.unknown, Clock: g.now, Believed: g.opts.Believed, Logger: g.log,
	}
	if g.opts.Observe != nil {
		g.observed = make(chan ingest.Committed, 1024)
		io.Observe = g.observe
	}
	if g.opts.External != nil {
		// One goroutine brings the messages of all devices, so it waits for none of them alone; what the
		// broker lets one instance have in flight is the bound.
		io.MaxQueue, io.MaxDevice, io.Shards = 512<<20, 512<<20, 4
	}
	if g.ingest, err = ingest.New(io); err != nil {
		return err
	}
	if g.opts.External != nil {
		return g.buildLink(key)
	}
	g.broker, err = broker.New(broker.Options{
		Handler: door{g}, Identify: identify, Logger: g.log,
		TLS: &tls.Config{
			GetCertificate: g.server.OfServer,
			ClientAuth:     tls.RequireAndVerifyClientCert,
			ClientCAs:      g.ca.Pool(),
			Time:           g.now,
			MinVersion:     tls.VersionTLS12,
		},
	})
	if err != nil {
		return err
	}
	host, port := g.opts.Hosts[0], "8883"
	if _, p, err := net.SplitHostPort(g.opts.Listen); err == nil && p != "0" {
		port = p
	}
	return g.buildEnrol(key, net.JoinHostPort(host, port))
}

func (g *Gateway) buildLink(key ed25519.PrivateKey) error {
	o := *g.opts.External
	o.Handler, o.Logger = courier{g}, g.log
	if o.TLS == nil {
		o.TLS = &tls.Config{RootCAs: g.ca.Pool(), GetClientCertificate: g.ca.Client(external.User).OfClient, MinVersion: tls.VersionTLS12}
	}
	var err error
	if g.link, err = external.New(o); err != nil {
		return err
	}
	return g.buildEnrol(key, g.opts.Listen) // where the broker serves devices
}

// send hands a message to whichever broker there is.
func (g *Gateway) send(tenant, device string, c protocol.Channel, payload []byte) bool {
	if g.link != nil {
		return g.link.Send(tenant, device, c, payload)
	}
	return g.broker.Send(tenant, device, c, payload)
}

// Waker wakes the live screens of every instance.
func (g *Gateway) Waker() wake.Waker {
	if g.link != nil {
		return g.link
	}
	return &g.local
}

func (g *Gateway) buildEnrol(key ed25519.PrivateKey, address string) (err error) {
	g.enrol, err = enrol.New(enrol.Options{
		DB: g.opts.DB, CA: g.ca, Devices: g.opts.Devices, Timeline: g.opts.Timeline, Broker: address,
		CommandKeys: [][]byte{key.Public().(ed25519.PublicKey)}, PlanKeys: g.opts.PlanKeys, Clock: g.now, Logger: g.log,
	})
	return err
}

// Commands is how the rest of the cloud sends commands; its Deliver handles the jobs of command.Queue.
func (g *Gateway) Commands() *command.Sender { return g.commands }

// CA is the authority that signs devices.
func (g *Gateway) CA() *ca.CA { return g.ca }

// SignModel signs an encoded risk model, so that devices take it.
func (g *Gateway) SignModel(model []byte) ([]byte, error) {
	return protocol.Sign(protocol.PurposeModel, model, g.key)
}

// MintToken writes a one-time enrolment token for a device of a home; it works within life.
func (g *Gateway) MintToken(tx store.Tx, home, device string, life time.Duration) (string, error) {
	return enrol.Mint(tx, home, device, g.now(), life)
}

// Publish sends a message that need not survive, such as a step of a remote session. It returns an error
// of cloud.CodeUnavailable when the device is not connected.
func (g *Gateway) Publish(_ context.Context, tenant, device string, c protocol.Channel, payload []byte) error {
	if !g.send(tenant, device, c, payload) {
		return cloud.Errorf(cloud.CodeUnavailable, "the device is not connected")
	}
	return nil
}

// Stats are the live counters of the door.
type Stats struct {
	Broker     *broker.Stats   // nil with an external broker
	Link       *external.Stats // nil without
	Ingest     *ingest.Stats
	Unobserved int64 // commits of telemetry that Observe was too slow for
}

// Stats returns the live counters.
func (g *Gateway) Stats() Stats {
	s := Stats{Ingest: g.ingest.Stats(), Unobserved: g.missed.n.Load()}
	if g.link != nil {
		s.Link = g.link.Stats()
	} else {
		s.Broker = g.broker.Stats()
	}
	return s
}

// Bind opens the ports, so that Addr and EnrolAddr are known and a busy one is an error before anything
// runs. Run binds when Bind was not called.
func (g *Gateway) Bind() (err error) {
	if g.https, err = net.Listen("tcp", g.opts.EnrolAt); err != nil {
		return fmt.Errorf("listen for enrolment (HTTPS): %w", err)
	}
	if g.link != nil {
		return nil
	}
	if g.mqtt, err = net.Listen("tcp", g.opts.Listen); err != nil {
		g.https.Close()
		return fmt.Errorf("listen for devices (MQTT): %w", err)
	}
	// With port 0 only now is it known where devices are to be sent.
	port := strconv.Itoa(g.mqtt.Addr().(*net.TCPAddr).Port)
	g.enrol.SetBroker(net.JoinHostPort(g.opts.Hosts[0], port))
	return nil
}

// Addr is where devices speak MQTT. Call it after Bind.
func (g *Gateway) Addr() net.Addr {
	if g.link != nil {
		return told(g.opts.Listen)
	}
	return g.mqtt.Addr()
}

// told is a host:port of another program.
type told string

// Network implements net.Addr.
func (told) Network() string { return "tcp" }

func (t told) String() string { return string(t) }

// EnrolAddr is where devices enrol. Call it after Bind.
func (g *Gateway) EnrolAddr() net.Addr { return g.https.Addr() }

// settle is how long after a start devices may take to come back before they count as gone: a fleet
// spreads its return over 40 seconds and backs off up to a minute.
const settle = 2 * time.Minute

// Run serves devices until ctx ends and waits for everything it started. It returns nil, or the error of
// a listener.
func (g *Gateway) Run(ctx context.Context) error {
	if g.https == nil {
		if err := g.Bind(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g.ctx = ctx
	errs := make(chan error, 4)
	var wg sync.WaitGroup
	start := func(run func() error) {
		wg.Go(func() {
			if err := run(); err != nil && ctx.Err() == nil {
				errs <- err
				cancel()
			}
		})
	}
	if g.link != nil {
		start(func() error { return g.link.Run(ctx) })
	} else {
		start(func() error { return g.broker.Serve(ctx, g.mqtt) })
	}
	start(func() error { return g.ingest.Run(ctx) })
	start(func() error { return g.serveEnrol(ctx) })
	start(func() error { g.presence.run(ctx); return nil })
	start(func() error { g.deliver(ctx); return nil })
	start(func() error { g.present(ctx); return nil })
	start(func() error { g.reconcile(ctx); return nil })
	if g.observed != nil {
		start(func() error { g.watch(ctx); return nil })
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (g *Gateway) serveEnrol(ctx context.Context) error {
	srv := &http.Server{
		Handler: g.enrol, ReadTimeout: 20 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // it logs addresses
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	err := srv.Serve(tls.NewListener(g.https, g.enrol.TLS(g.server.OfServer)))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve enrolment: %w", err)
}

func (g *Gateway) reconcile(ctx context.Context) {
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return
	}
	tenants, err := g.opts.Tenants(ctx)
	if err != nil {
		g.log.Error("presence not reconciled", "error", err)
		return
	}
	g.presence.reconcile(ctx, tenants, func(p place) bool {
		if g.link != nil {
			return g.link.Online(p.tenant, p.device)
		}
		_, ok := g.broker.Session(p.tenant, p.device)
		return ok
	}, g.now())
}
