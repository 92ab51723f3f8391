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
	"sync"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
	"github.com/hearthline/hearthline/cloud/assist"
	"github.com/hearthline/hearthline/cloud/effects"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/health"
	"github.com/hearthline/hearthline/cloud/outbreak"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/remedy"
	"github.com/hearthline/hearthline/cloud/session"
	"github.com/hearthline/hearthline/cloud/steady"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
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
