// Package app wires the service together: it is the one place that knows all of its packages. What follows
// from what is one table (reactions.go), who does which job another (jobs.go).
package app

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
	"github.com/hearthline/hearthline/cloud/assist"
	"github.com/hearthline/hearthline/cloud/console"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/effects"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/gateway/external"
	"github.com/hearthline/hearthline/cloud/gateway/ingest"
	"github.com/hearthline/hearthline/cloud/health"
	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/cloud/notify"
	"github.com/hearthline/hearthline/cloud/outbreak"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/remedy"
	"github.com/hearthline/hearthline/cloud/session"
	"github.com/hearthline/hearthline/cloud/steady"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// Options configures an App. DB, Data and Tenants are required.
type Options struct {
	DB      store.DB // opened with Tables; the caller closes it after Run has returned
	Data    string   // folder of keys, made when missing
	Tenants []cloud.Tenant
	Region  string // where a phone number without a country code is from, ISO 3166

	HTTP        string   // where people reach API and pages; "" means "127.0.0.1:8080"
	Certificate string   // PEM files for HTTPS; both or neither
	Key         string   //
	Secure      bool     // cookies only over HTTPS, as behind a proxy that ends TLS; implied by Certificate
	MQTT        string   // where devices connect; "" means ":8883"
	Enrol       string   // where devices enrol; "" means ":8884"
	Hosts       []string // names and addresses that devices know this service by, the first to be sent to; nil means localhost

	// Broker is the address (tls://host:port) of a broker cluster that devices connect to instead of us; ""
	// serves them here. MQTT is then the host:port that they are told. Instances share Data and the store.
	Broker   string
	Instance string // unique among the instances, and kept over restarts; for Broker

	PlanFolder string              // of signed plans, in a folder for each tenant where there are several; "" means Data/plans
	PlanKeys   []ed25519.PublicKey // whose signatures on plans count

	DiagnosisUnasked bool                // policy: a session that may only diagnose needs no consent
	TURN             *assist.TURNOptions // nil: none; its Secret is made when empty

	// RiskModel, as predict writes it, scores the telemetry of devices that do not score themselves, from
	// RiskBaseline on where it is given; nil: nothing is predicted here. It is also the first version of the
	// model that hubs get, where there is none yet.
	RiskModel, RiskBaseline []byte

	Backup func(io.Writer) (int64, error) // copies the store while it is in use; nil where the database has its own tools

	Outbreak OutbreakOptions
	Version  string
	Logger   *slog.Logger     // nil discards
	Clock    func() time.Time // nil means time.Now

	// FirstPassword takes the password of a tenant's first admin, once, when it has just been made.
	FirstPassword func(tenant, name, password string) error
}

// OutbreakOptions sets how the fleet is watched; see outbreak.Options.
type OutbreakOptions struct {
	Step, Every, Apart time.Duration
	Learn              int
}

// App is the service. Make it with New, then Run it.
type App struct {
	opts     Options
	log      *slog.Logger
	now      func() time.Time
	clock    *steady.Clock // nil when Options.Clock was given
	db       *wakingDB
	timeline *timeline.Log
	remedy   *remedy.Remedy
	sessions *session.Keeper
	outbreak *outbreak.Outbreak
	health   *health.Watch
	rollout  *predict.Rollout
	gateway  *gateway.Gateway
	relay    *assist.Relay
	turn     *assist.TURN
	effects  *effects.Runner
	server   *http.Server
	listener net.Listener
}

// New checks the options, makes what is missing in the data folder and opens every port, so that a busy
// one is an error before anything runs.
func New(ctx context.Context, opts Options) (_ *App, err error) {
	if opts.DB == nil || opts.Data == "" || len(opts.Tenants) == 0 {
		return nil, errors.New("app: DB, Data and Tenants are required")
	}
	a := &App{opts: opts, log: opts.Logger, now: opts.Clock}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	if err := os.MkdirAll(opts.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	a.db = &wakingDB{
		DB:       opts.DB,
		wake:     func(tenant, home string) { a.gateway.Waker().Wake(tenant, home) },
		enqueued: func(queue string) { a.effects.Wake(queue) },
	}
	if err := a.build(); err != nil {
		return nil, err
	}
	if err := a.firstAdmins(ctx); err != nil {
		return nil, err
	}
	for _, t := range opts.Tenants {
		err := errors.Join(a.outbreak.Arm(ctx, t.ID), a.health.Arm(ctx, t.ID), a.rollout.Arm(ctx, t.ID))
		if err == nil && opts.RiskModel != nil {
			err = a.rollout.Seed(ctx, t.ID, opts.RiskModel)
		}
		if err != nil {
			return nil, err
		}
	}
	if a.listener, err = net.Listen("tcp", cmp.Or(opts.HTTP, "127.0.0.1:8080")); err != nil {
		return nil, fmt.Errorf("listen for people (HTTP): %w", err)
	}
	if err := a.gateway.Bind(); err != nil {
		a.listener.Close()
		return nil, err
	}
	return a, nil
}

func (a *App) build() (err error) {
	plans := map[string]*remedy.Plans{}
	for _, t := range a.opts.Tenants {
		dir := cmp.Or(a.opts.PlanFolder, filepath.Join(a.opts.Data, "plans"))
		if len(a.opts.Tenants) > 1 {
			dir = filepath.Join(dir, t.ID)
		}
		if plans[t.ID], err = remedy.LoadPlans(dir, t.ID, a.opts.PlanKeys, a.now()); err != nil {
			return err
		}
		a.log.Info("plans loaded", "tenant", t.ID, "plans", plans[t.ID].IDs())
	}
	a.relay = assist.NewRelay(func(ctx context.Context, tenant, device string, c protocol.Channel, payload []byte) error {
		return a.gateway.Publish(ctx, tenant, device, c, payload)
	})
	if a.opts.TURN != nil {
		if a.opts.TURN.Secret == "" {
			secret, err := secretFile(filepath.Join(a.opts.Data, "turn.key"))
			if err != nil {
				return err
			}
			a.opts.TURN.Secret = string(secret)
		}
		if a.turn, err = assist.NewTURN(*a.opts.TURN); err != nil {
			return err
		}
	}
	a.remedy = remedy.New(remedy.Options{
		Commands: commands{a}, Plans: plans, Now: a.now,
		Latest: func(tx store.Tx, home, device string) (*protocol.Sample, error) {
			s, _, err := telemetry.Keeper{}.Latest(tx, home, device)
			return s, err
		},
		Ticket: func(home, device, code string, segment protocol.Segment, actor cloud.Ref) cloud.Entry {
			return desk.Opening(home, device, desk.TitleFor(code), segment, actor)
		},
		OpenTicket: desk.OfDevice, Tell: notify.Tell,
		Judge: func(tx store.Tx, home, device string, at time.Time) (remedy.Judgement, error) {
			h, err := fleet.Home(tx, home)
			if err != nil {
				return remedy.Judgement{}, err
			}
			j, err := a.health.Judge(tx, h, device, at, a.now())
			return remedy.Judgement(j), err
		},
		ICEServers: func(session string, life time.Duration) ([]protocol.ICEServer, error) {
			_, device, err := a.iceServers(session, life)
			return device, err
		},
	})
	a.sessions = session.New(session.Options{Commander: a.remedy, DiagnosisUnasked: a.opts.DiagnosisUnasked, Now: a.now})
	if a.health, err = health.New(health.Options{
		DB: a.db, Fleet: roster{}, Now: a.now, Log: a.log,
		Append: func(tx store.Tx, e cloud.Entry) error { return a.timeline.Append(tx, e) },
	}); err != nil {
		return err
	}
	o := a.opts.Outbreak
	a.outbreak, err = outbreak.New(outbreak.Options{
		DB: a.db, Fleet: roster{}, Tickets: ticketBook{}, Incidents: incidents{a}, Now: a.now, Log: a.log,
		Append: func(tx store.Tx, e cloud.Entry) error { return a.timeline.Append(tx, e) },
		Step:   o.Step, Every: o.Every, Apart: o.Apart, Learn: o.Learn,
	})
	if err != nil {
		return err
	}
	a.timeline = timeline.New(a.now, a.reactions()...)
	presence := fleet.Presence{Log: a.timeline.Append}
	var planKeys [][]byte
	for _, k := range a.opts.PlanKeys {
		planKeys = append(planKeys, k)
	}
	var observe func(ingest.Committed)
	if a.opts.RiskModel != nil {
		p, err := newPredictor(a, a.opts.RiskModel, a.opts.RiskBaseline)
		if err != nil {
			return err
		}
		observe = p.Observe
	}
	if a.rollout, err = newRollout(a); err != nil {
		return err
	}
	var cluster *external.Options
	if a.opts.Broker != "" {
		cluster = &external.Options{Broker: a.opts.Broker, Instance: a.opts.Instance}
	}
	var steadily func() bool
	var believed func() (time.Time, bool)
	if a.opts.Clock == nil { // one that was given is believed
		if a.clock, err = steady.New(steady.Options{Path: filepath.Join(a.opts.Data, "clock"), Logger: a.log}); err != nil {
			return err
		}
		steadily, believed = a.clock.Steady, a.clock.Now
	}
	a.gateway, err = gateway.New(gateway.Options{
		External: cluster, Observe: observe, Presented: a.rollout.Presented,
		DB: a.db, Dir: filepath.Join(a.opts.Data, "gateway"), Devices: presence, Timeline: a.timeline,
		Telemetry: telemetry.Keeper{}, Presence: presence, Tenants: a.tenants,
		Listen: a.opts.MQTT, EnrolAt: a.opts.Enrol, Hosts: a.opts.Hosts,
		PlanKeys: func(string) [][]byte { return planKeys },
		Signal:   a.relay.Deliver,
		Clock:    a.now, Believed: believed, Logger: a.log,
	})
	if err != nil {
		return err
	}
	a.db.handled = a.jobs()
	a.effects, err = effects.New(effects.Options{Jobs: a.db, Owner: cloud.NewID(), Handlers: a.db.handled, Steady: steadily, Logger: a.log})
	if err != nil {
		return err
	}
	return a.buildHTTP()
}

func (a *App) buildHTTP() error {
	key, err := secretFile(filepath.Join(a.opts.Data, "inbox.key"))
	if err != nil {
		return err
	}
	inbox, err := access.NewInbox(key)
	if err != nil {
		return err
	}
	api, err := httpapi.New(httpapi.Options{
		Services: httpapi.Services{
			DB: a.db, Log: a.timeline, Inbox: inbox, Remedy: a.remedy, Sessions: a.sessions,
			Tenant: a.opts.Tenants[0].ID, Region: a.opts.Region,
			Live: a.gateway.Waker(), Telemetry: charts{a.db}, Health: scores{a}, Problems: problems{a.db}, Signals: signals{a}, Enrolment: enrolment{a},
			Models: a.rollout,
			Backup: a.opts.Backup,
		},
		Version: a.opts.Version, Secure: a.opts.Secure || a.opts.Certificate != "", Logger: a.log, Now: a.now,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/", "/healthz", "/openapi.json", "/openapi.yaml"} {
		mux.Handle(path, api)
	}
	mux.Handle("/", console.Handler())
	a.server = &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // it logs addresses
	}
	return nil
}

// Tables is everything that the service keeps; a store is opened with it.
func Tables() (all []store.Declared) {
	for _, tables := range tablesOf {
		all = append(all, tables()...)
	}
	return all
}

// Addrs are where the service listens.
type Addrs struct{ HTTP, MQTT, Enrol net.Addr }

// Addrs returns where the service listens; MQTT is nil when devices connect to a broker cluster.
func (a *App) Addrs() Addrs {
	at := Addrs{HTTP: a.listener.Addr(), Enrol: a.gateway.EnrolAddr()}
	if a.opts.Broker == "" {
		at.MQTT = a.gateway.Addr()
	}
	return at
}

// Run serves until ctx ends, or until a part of the service fails, and waits for all of it.
func (a *App) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.server.BaseContext = func(net.Listener) context.Context { return ctx } // streams end with us
	parts := []struct {
		name string
		run  func(context.Context) error
	}{
		{"gateway", a.gateway.Run},
		{"effects", a.effects.Run},
		{"http", a.serve},
	}
	if a.turn != nil {
		parts = append(parts, struct {
			name string
			run  func(context.Context) error
		}{"turn", a.turn.Run})
	}
	errs := make(chan error, len(parts))
	var wg sync.WaitGroup
	for _, p := range parts {
		wg.Go(func() {
			if err := p.run(ctx); err != nil && ctx.Err() == nil {
				errs <- fmt.Errorf("%s: %w", p.name, err)
				cancel()
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (a *App) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if a.server.Shutdown(grace) != nil {
			a.server.Close()
		}
	})
	defer stop()
	var err error
	if a.opts.Certificate != "" {
		err = a.server.ServeTLS(a.listener, a.opts.Certificate, a.opts.Key)
	} else {
		err = a.server.Serve(a.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (a *App) tenants(context.Context) ([]string, error) {
	var ids []string
	for _, t := range a.opts.Tenants {
		ids = append(ids, t.ID)
	}
	return ids, nil
}

func (a *App) firstAdmins(ctx context.Context) error {
	for _, t := range a.opts.Tenants {
		var name, password string
		var made bool
		err := a.db.Update(ctx, t.ID, func(tx store.Tx) (err error) {
			name, password, made, err = access.First(tx, a.now())
			return err
		})
		if err != nil {
			return fmt.Errorf("first admin of %s: %w", t.ID, err)
		}
		if made && a.opts.FirstPassword != nil {
			if err := a.opts.FirstPassword(t.ID, name, password); err != nil {
				return err
			}
		}
	}
	return nil
}
