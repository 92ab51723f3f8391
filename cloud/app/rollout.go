package app

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/health"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

// hubModel is the name of the model that hubs score themselves by, where the service is not started with one.
const hubModel = "home"

// newRollout carries the model that hubs score themselves by through its versions.
func newRollout(a *App) (*predict.Rollout, error) {
	name := hubModel
	if a.opts.RiskModel != nil {
		m, err := risk.Decode(a.opts.RiskModel)
		if err != nil {
			return nil, fmt.Errorf("risk model: %w", err)
		}
		name = m.Name
	}
	return predict.NewRollout(predict.RolloutOptions{
		DB: a.db, Name: name, Hubs: scorers{}, Telemetry: telemetry.Keeper{}, Now: a.now, Log: a.log,
		OwnFault: func(ctx context.Context, tenant string, from, to time.Time) (func(at time.Time) bool, error) {
			return ownFault(ctx, a.health, tenant, from, to)
		},
		// The gateway, which has the key and the wire, is built later.
		Registry: &predict.Registry{Sign: func(model []byte) ([]byte, error) { return a.gateway.SignModel(model) }},
		Send: func(tenant, device string, signed []byte) bool {
			return a.gateway.Publish(context.Background(), tenant, device, protocol.DownModel, signed) == nil
		},
	})
}

// ownFault says when the service was down itself.
func ownFault(ctx context.Context, h *health.Watch, tenant string, from, to time.Time) (func(at time.Time) bool, error) {
	list, err := h.During(ctx, tenant, from, to)
	return func(at time.Time) bool {
		for _, in := range list {
			if in.Segment == protocol.SegmentCloud && !at.Before(in.From) && (in.To == nil || at.Before(*in.To)) {
				return true
			}
		}
		return false
	}, err
}

// scorers is the fleet as a roll-out sees it.
type scorers struct{}

func (scorers) Scoring(tx store.Tx, model string, after store.Cursor, limit int) ([]predict.Hub, store.Cursor, error) {
	return hubs(fleet.Scoring(tx, model, after, limit))
}

func (scorers) There(tx store.Tx, after store.Cursor, limit int) ([]predict.Hub, store.Cursor, error) {
	return hubs(fleet.There(tx, after, limit))
}

func (scorers) Devices(tx store.Tx, after string, limit int) ([]cloud.Device, error) {
	return fleet.All(tx, after, limit)
}

func hubs(states []fleet.State, next store.Cursor, err error) ([]predict.Hub, store.Cursor, error) {
	var out []predict.Hub
	for _, s := range states {
		out = append(out, predict.Hub{Home: s.Home, Device: s.Device, Model: s.Model})
	}
	return out, next, err
}

// TrainOptions says what to fit a model to. DB and Tenant are required.
type TrainOptions struct {
	DB      store.DB
	Tenant  string
	Model   []byte        // that the service is started with; its name is taken, and its input and horizon where no other is in use
	Days    int           // newest days to learn from; 0 means 14
	Hubs    int           // at most; 0 means 200
	Horizon time.Duration // where no model is in use; 0 means 1m
	Trees   bool
	Now     time.Time // zero means now
}

// moments is how many a training takes at most: features of half a million fill 150 MB.
const moments = 500_000

// Train fits the next version of the model that hubs score themselves by to what the store holds: telemetry, and the
// timelines for what became of it. The caller enters it (predict.Rollout.Add).
func Train(ctx context.Context, opts TrainOptions) (*predict.Trained, error) {
	if opts.Days <= 0 {
		opts.Days = 14
	}
	if opts.Hubs <= 0 {
		opts.Hubs = 200
	}
	if opts.Now.IsZero() {
		opts.Now = time.Now()
	}
	p := predict.Plan{
		Name: hubModel, Horizon: cmp.Or(opts.Horizon, time.Minute).Seconds(), Input: predict.HubInput(5, 300),
		Trees: opts.Trees, MinAge: 60, Warmup: 3600, Seed: 1,
	}
	if opts.Model != nil {
		m, err := risk.Decode(opts.Model)
		if err != nil {
			return nil, fmt.Errorf("risk model: %w", err)
		}
		p.Name, p.Horizon, p.Input = m.Name, m.Horizon, m.Input
	}
	registry := predict.Registry{}
	err := opts.DB.View(ctx, opts.Tenant, func(tx store.Tx) error {
		inUse, err := registry.InUse(tx, p.Name)
		if inUse != nil {
			p.Horizon, p.Input = inUse.Horizon, inUse.Input
		}
		if err != nil {
			return err
		}
		list, _, err := registry.List(tx, p.Name, 1)
		if p.Version = 1; len(list) > 0 {
			p.Version = uint64(list[0].Version) + 1
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	h, err := health.New(health.Options{DB: opts.DB, Fleet: roster{}})
	if err != nil {
		return nil, err
	}
	to := opts.Now.Add(-predict.Settled)
	a := predict.Archive{
		DB: opts.DB, Tenant: opts.Tenant, Fleet: scorers{}, Telemetry: telemetry.Keeper{},
		From: to.AddDate(0, 0, -opts.Days), To: to, Late: predict.Settled, Most: opts.Hubs,
	}
	if a.OwnFault, err = ownFault(ctx, h, opts.Tenant, a.From, a.To); err != nil {
		return nil, err
	}
	p.About = fmt.Sprintf("fitted on up to %d hubs of this service, %d days to %s", opts.Hubs, opts.Days, to.UTC().Format(time.DateOnly))
	p.Settle, p.Every = p.Horizon, max(p.Horizon/2, float64(opts.Hubs*opts.Days)*86400/moments)
	return predict.Train(ctx, a, p)
}
