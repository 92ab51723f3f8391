package predict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol/risk"
)

// The queues of a Rollout: the timer that looks, and the walk that tells hubs of a change.
const (
	QueueLook = "model-look"
	QueueSend = "model-send"
)

// Settled is how long after a moment it is known what became of it: a silence becomes an entry after minutes, a
// customer calls within hours.
const Settled = 6 * time.Hour

const (
	every  = time.Minute      // between two turns of the timer
	budget = 30 * time.Second // of a turn, so that it ends before the next and within the life of a job

	// newest is what a candidate is judged on: every day of the week twice.
	newest = 14 * 24 * time.Hour
	// warmup is for how long a history only teaches what is usual for its hub.
	warmup = time.Hour
	// hubs is how many a judgement looks at: their telemetry is read in full, 120,000 samples each in two weeks.
	hubs = 200
	// few of them are looked at between two commits.
	few = 4
	// page is how many hubs a walk looks up at a time.
	page = 500
)

// Hub is a device and the model that it says it scores itself by.
type Hub struct{ Home, Device, Model string }

// Hubs says which hub scores by which model; cloud/fleet provides it through the app.
type Hubs interface {
	// Scoring pages through the hubs that score by a model, or that take one at all when model is "".
	Scoring(tx store.Tx, model string, after store.Cursor, limit int) ([]Hub, store.Cursor, error)
	// There pages through the hubs that are there.
	There(tx store.Tx, after store.Cursor, limit int) ([]Hub, store.Cursor, error)
}

// RolloutOptions configures a Rollout. DB, Registry, Name, Hubs, Telemetry and Send are required.
type RolloutOptions struct {
	DB        store.DB
	Registry  *Registry
	Name      string // of the model that hubs score themselves by
	Hubs      Hubs
	Telemetry Telemetry
	// Send hands a signed model to a hub that is there; one that is not gets it when it comes.
	Send func(tenant, device string, signed []byte) bool
	// OwnFault says when the service itself was down between two moments; nil: never.
	OwnFault func(ctx context.Context, tenant string, from, to time.Time) (func(at time.Time) bool, error)
	Now      func() time.Time // nil means time.Now
	Log      *slog.Logger     // nil discards
}

// Rollout carries models through their lives. A timer, which of many instances one claims, looks at what became of
// the predictions: it plays the telemetry that the store holds to the model once more, since cloud and hub score to
// the same bit, and holds the scores against what the timelines say came of it. What it has seen is committed hub by
// hub with the place it has come to, so another instance, or the same one after a crash, goes on from there and
// nothing counts twice. It is safe for concurrent use.
type Rollout struct{ opts RolloutOptions }

// NewRollout checks the options.
func NewRollout(opts RolloutOptions) (*Rollout, error) {
	if opts.DB == nil || opts.Registry == nil || opts.Name == "" || opts.Hubs == nil || opts.Telemetry == nil || opts.Send == nil {
		return nil, errors.New("predict: DB, Registry, Name, Hubs, Telemetry and Send are required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Rollout{opts}, nil
}

// Arm sets a tenant's timer for the next turn. Call it at start; arming twice sets one timer.
func (r *Rollout) Arm(ctx context.Context, tenant string) error {
	next := r.opts.Now().UTC().Truncate(every).Add(every)
	return r.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		return store.Enqueue(tx, store.Job{Queue: QueueLook, ID: strconv.FormatInt(next.Unix(), 10), Due: next})
	})
}

// Seed makes an encoded model the first of its name, as the service is started with it; nothing happens when there
// is one already.
func (r *Rollout) Seed(ctx context.Context, tenant string, encoded []byte) error {
	return r.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		if list, _, err := r.opts.Registry.List(tx, r.opts.Name, 1); err != nil || len(list) > 0 {
			return err
		}
		now := r.opts.Now()
		rec, err := r.opts.Registry.Add(tx, encoded, itself, now)
		if err != nil {
			return err
		}
		_, err = r.opts.Registry.Judged(tx, rec.Name, rec.Version, Tally{}, 0, now)
		return err
	})
}

// Look is the timer's work: it arms the next turn, then looks on for as long as its budget lasts.
func (r *Rollout) Look(ctx context.Context, j store.Job) error {
	if err := r.Arm(ctx, j.Tenant); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < budget; {
		more, err := r.step(ctx, j.Tenant)
		if err != nil {
			return fmt.Errorf("look what became of models: %w", err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// Send is the work of QueueSend: it walks the hubs that are there and hands each the model that it should have and
// does not. A hub is asked once for each change; whoever was not reached is served when it presents itself.
func (r *Rollout) Send(ctx context.Context, j store.Job) error {
	var after store.Cursor
	if len(j.Payload) > 0 {
		if err := json.Unmarshal(j.Payload, &after); err != nil {
			return fmt.Errorf("read job of queue %s: %w", QueueSend, err)
		}
	}
	for began := time.Now(); ; {
		var there []Hub
		var todo []delivery
		err := r.opts.DB.View(ctx, j.Tenant, func(tx store.Tx) (err error) {
			if there, after, err = r.opts.Hubs.There(tx, after, page); err != nil {
				return err
			}
			todo, err = r.due(tx, there)
			return err
		})
		if err != nil {
			return fmt.Errorf("hubs that should have another model: %w", err)
		}
		for _, d := range todo {
			r.opts.Send(j.Tenant, d.device, d.signed)
		}
		if after == "" {
			return nil
		}
		if time.Since(began) > budget {
			payload, err := json.Marshal(after)
			if err != nil {
				return err
			}
			return r.opts.DB.Update(ctx, j.Tenant, func(tx store.Tx) error {
				return store.Enqueue(tx, store.Job{Queue: QueueSend, ID: cloud.NewID(), Payload: payload})
			})
		}
	}
}

// Presented hands a hub that has said by which model it scores the one that it should have, if that is another.
func (r *Rollout) Presented(ctx context.Context, tenant, device, id string) {
	var todo []delivery
	err := r.opts.DB.View(ctx, tenant, func(tx store.Tx) (err error) {
		todo, err = r.due(tx, []Hub{{Device: device, Model: id}})
		return err
	})
	if err != nil && ctx.Err() == nil {
		r.opts.Log.Warn("model of a hub not looked up", "tenant", tenant, "device", device, "error", err)
	}
	for _, d := range todo {
		r.opts.Send(tenant, d.device, d.signed)
	}
}

type delivery struct {
	device string
	signed []byte
}

// due picks the hubs that score by another model than they should. One that has said nothing takes none.
func (r *Rollout) due(tx store.Tx, list []Hub) (out []delivery, err error) {
	c, err := r.opts.Registry.choice(tx, r.opts.Name)
	if err != nil {
		return nil, err
	}
	wire := map[int64][]byte{}
	for _, h := range list {
		rec, ok := c.of(h.Device)
		if !ok || h.Model == "" || h.Model == rec.ID() {
			continue
		}
		if wire[rec.Version] == nil {
			if wire[rec.Version], err = r.opts.Registry.Wire(tx, rec.Name, rec.Version); err != nil {
				return nil, err
			}
		}
		out = append(out, delivery{h.Device, wire[rec.Version]})
	}
	return out, nil
}

// Book is the record of a version, and how many hubs say that they score by it.
type Book struct {
	Record
	Hubs int
}

// Books returns the newest versions and the newest changes, up to limit of each.
func (r *Rollout) Books(tx store.Tx, limit int) (list []Book, log []Change, err error) {
	records, log, err := r.opts.Registry.List(tx, r.opts.Name, limit)
	if err != nil {
		return nil, nil, err
	}
	for _, rec := range records {
		n, err := r.count(tx, rec.ID())
		if err != nil {
			return nil, nil, err
		}
		list = append(list, Book{rec, n})
	}
	return list, log, nil
}

// Add enters an encoded model as a candidate.
func (r *Rollout) Add(tx store.Tx, encoded []byte, by cloud.Ref) (Record, error) {
	m, err := risk.Decode(encoded)
	if err != nil {
		return Record{}, cloud.Invalid("model", "%s", err)
	}
	if m.Name != r.opts.Name {
		return Record{}, cloud.Invalid("model", "hubs score themselves by a model named %q, this one is %q", r.opts.Name, m.Name)
	}
	return r.opts.Registry.Add(tx, encoded, by, r.opts.Now())
}

// Start rolls a version out again that was rolled back or retired; see Registry.Start.
func (r *Rollout) Start(tx store.Tx, version int64, by cloud.Ref, because string) (Record, error) {
	return r.opts.Registry.Start(tx, r.opts.Name, version, by, because, r.opts.Now())
}

// Stop takes a version out of service; see Registry.Stop.
func (r *Rollout) Stop(tx store.Tx, version int64, by cloud.Ref, because string) (Record, error) {
	return r.opts.Registry.Stop(tx, r.opts.Name, version, by, because, r.opts.Now())
}
