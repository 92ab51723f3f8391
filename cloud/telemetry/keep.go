package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// RollUp is the handler of Queue: it writes the summary of one hour of one device from its blocks. It may
// run again, and does when blocks come late.
func RollUp(ctx context.Context, db store.DB, j store.Job) error {
	var r rollUp
	if err := json.Unmarshal(j.Payload, &r); err != nil {
		return fmt.Errorf("roll up telemetry: payload: %w", err)
	}
	return db.Update(ctx, j.Tenant, func(tx store.Tx) error {
		lines := map[column]*line{}
		var order []column
		_, err := scan(tx, r.Home, r.Device, r.Begins, r.Begins.Add(time.Hour), func(rows []protocol.Sample) {
			for m, metric := range rows[0].Schema.Metrics {
				col := column{metric.Name, metric.Instance}
				l := lines[col]
				if l == nil {
					l = &line{kind: metric.Kind, points: map[int64]*Point{}}
					lines[col] = l
					order = append(order, col)
				}
				for i := range rows {
					v := rows[i].Values[m]
					if metric.Kind == protocol.Counter {
						v = l.rate.next(rows[i].Wall, v)
					}
					if !math.IsNaN(v) {
						l.add(0, 1, v, v, v)
					}
				}
			}
		})
		if err != nil {
			return err
		}
		h := hour{Home: r.Home, Device: r.Device, Begins: r.Begins.UTC()}
		for _, col := range order {
			l := lines[col]
			if p := l.points[0]; p != nil {
				h.Series = append(h.Series, summary{col.metric, col.instance, l.kind, p.N, p.Min, p.Max, p.Mean})
			}
		}
		if len(h.Series) == 0 {
			return nil // nothing readable in it: an hour that is there already stays
		}
		return hours.Put(tx, &h)
	})
}

// Retention deletes telemetry by age.
type Retention struct {
	DB      store.DB
	Tenants func(context.Context) ([]string, error)
	Blocks  time.Duration    // how long blocks are kept; 0 means 30 days
	Hours   time.Duration    // how long hours are kept; 0 means 400 days
	Every   time.Duration    // between sweeps; 0 means an hour
	Clock   func() time.Time // nil means time.Now
	Logger  *slog.Logger     // nil discards
}

// Run sweeps now and then until ctx ends, and returns nil.
func (r Retention) Run(ctx context.Context) error {
	if r.Every == 0 {
		r.Every = time.Hour
	}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	tick := time.NewTicker(r.Every)
	defer tick.Stop()
	for {
		if n, err := r.Sweep(ctx); err != nil && ctx.Err() == nil {
			r.Logger.Error("telemetry sweep failed", "deleted", n, "error", err)
		} else if n > 0 {
			r.Logger.Info("telemetry swept", "deleted", n)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sweepAtOnce is how many rows one transaction deletes: few enough that ingest does not notice.
const sweepAtOnce = 256

// Sweep deletes what is too old, in small transactions, each within one home. It returns how many rows.
func (r Retention) Sweep(ctx context.Context) (deleted int, err error) {
	now := time.Now
	if r.Clock != nil {
		now = r.Clock
	}
	keep := func(d, standard time.Duration) time.Time {
		if d == 0 {
			d = standard
		}
		return now().Add(-d)
	}
	tenants, err := r.Tenants(ctx)
	if err != nil {
		return 0, fmt.Errorf("sweep telemetry: %w", err)
	}
	for _, tenant := range tenants {
		n, err := r.sweep(ctx, tenant, oldBlocks(keep(r.Blocks, 30*24*time.Hour)), func(tx store.Tx, k store.Key) error { return blocks.Delete(tx, k...) })
		deleted += n
		if err != nil {
			return deleted, err
		}
		n, err = r.sweep(ctx, tenant, oldHours(keep(r.Hours, 400*24*time.Hour)), func(tx store.Tx, k store.Key) error { return hours.Delete(tx, k...) })
		deleted += n
		if err != nil {
			return deleted, err
		}
	}
	return deleted, nil
}

// old lists keys of rows to delete, each beginning with its home.
type old func(tx store.Tx) ([]store.Key, error)

func oldBlocks(before time.Time) old {
	return func(tx store.Tx) (keys []store.Key, err error) {
		for b, err := range blocks.Scan(tx, store.Range{Index: "by_age", To: before, Limit: sweepAtOnce}) {
			if err != nil {
				return nil, err
			}
			keys = append(keys, b.Key)
		}
		return keys, nil
	}
}

func oldHours(before time.Time) old {
	return func(tx store.Tx) (keys []store.Key, err error) {
		for h, err := range hours.Scan(tx, store.Range{Index: "by_age", To: before, Limit: sweepAtOnce}) {
			if err != nil {
				return nil, err
			}
			keys = append(keys, store.Key{h.Home, h.Device, h.Begins})
		}
		return keys, nil
	}
}

func (r Retention) sweep(ctx context.Context, tenant string, find old, remove func(store.Tx, store.Key) error) (deleted int, err error) {
	for {
		var keys []store.Key
		err := r.DB.View(ctx, tenant, func(tx store.Tx) (err error) {
			keys, err = find(tx)
			return err
		})
		if err != nil {
			return deleted, fmt.Errorf("sweep telemetry: %w", err)
		}
		homes := map[string][]store.Key{}
		for _, k := range keys {
			homes[k[0].(string)] = append(homes[k[0].(string)], k)
		}
		var work []store.Work
		for _, of := range homes {
			work = append(work, store.Work{Tenant: tenant, Do: func(tx store.Tx) error {
				for _, k := range of {
					if err := remove(tx, k); err != nil && !errors.Is(err, store.ErrNotFound) {
						return err
					}
				}
				return nil
			}})
		}
		if err := errors.Join(r.DB.Batch(ctx, work)...); err != nil {
			return deleted, fmt.Errorf("sweep telemetry: %w", err)
		}
		if deleted += len(keys); len(keys) < sweepAtOnce {
			return deleted, nil
		}
	}
}
