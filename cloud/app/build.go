package app

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
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
	"github.com/hearthline/hearthline/cloud/remedy"
	"github.com/hearthline/hearthline/cloud/session"
	"github.com/hearthline/hearthline/cloud/steady"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// build makes the parts in the order in which they need each other.
func (a *App) build() (err error) {
	plans, err := a.loadPlans()
	if err != nil {
		return err
	}
	if err := a.buildAssist(); err != nil {
		return err
	}
	a.buildRemedy(plans)
	if err := a.buildWatches(); err != nil {
		return err
	}
	a.timeline = timeline.New(a.now, a.reactions()...)
	if a.rollout, err = newRollout(a); err != nil {
		return err
	}
	var steadily func() bool
	if a.opts.Clock == nil { // one that was given is believed
		if a.clock, err = steady.New(steady.Options{Path: filepath.Join(a.opts.Data, "clock"), Logger: a.log}); err != nil {
			return err
		}
		steadily = a.clock.Steady
	}
	if err := a.buildGateway(); err != nil {
		return err
	}
	a.db.handled = a.jobs()
	a.effects, err = effects.New(effects.Options{Jobs: a.db, Owner: cloud.NewID(), Handlers: a.db.handled, Steady: steadily, Logger: a.log})
	if err != nil {
		return err
	}
	return a.buildHTTP()
}

// loadPlans reads the signed plans of each tenant, which have folders of their own where there are several.
func (a *App) loadPlans() (_ map[string]*remedy.Plans, err error) {
	plans := map[string]*remedy.Plans{}
	for _, t := range a.opts.Tenants {
		dir := cmp.Or(a.opts.PlanFolder, filepath.Join(a.opts.Data, "plans"))
		if len(a.opts.Tenants) > 1 {
			dir = filepath.Join(dir, t.ID)
		}
		if plans[t.ID], err = remedy.LoadPlans(dir, t.ID, a.opts.PlanKeys, a.now()); err != nil {
			return nil, err
		}
		a.log.Info("plans loaded", "tenant", t.ID, "plans", plans[t.ID].IDs())
	}
	return plans, nil
}

func (a *App) buildAssist() (err error) {
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
	return nil
}

func (a *App) buildRemedy(plans map[string]*remedy.Plans) {
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
}

// buildWatches makes what looks at the whole fleet.
func (a *App) buildWatches() (err error) {
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
	return err
}

func (a *App) buildGateway() (err error) {
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
	var cluster *external.Options
	if a.opts.Broker != "" {
		cluster = &external.Options{Broker: a.opts.Broker, Instance: a.opts.Instance}
	}
	var believed func() (time.Time, bool)
	if a.clock != nil {
		believed = a.clock.Now
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
	return err
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
