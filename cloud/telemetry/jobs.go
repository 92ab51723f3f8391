package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Retention is how long telemetry is kept.
type Retention struct {
	Blocks time.Duration // 0 means 30 days
	Hours  time.Duration // 0 means 400 days
}

func (r Retention) blocks() time.Duration { return standard(r.Blocks, 30*day) }
func (r Retention) hours() time.Duration  { return standard(r.Hours, 400*day) }

const day = 24 * time.Hour

func standard(d, s time.Duration) time.Duration {
	if d == 0 {
		return s
	}
	return d
}

// Jobs are the handlers of this package's queues. Each works within one home, and may run again.
type Jobs struct {
	DB    store.DB
	Keep  Retention
	Clock func() time.Time // nil means time.Now
}

func (j Jobs) now() time.Time {
	if j.Clock == nil {
		return time.Now()
	}
	return j.Clock()
}

func read(j store.Job) (s span, err error) {
	if err = json.Unmarshal(j.Payload, &s); err != nil {
		err = fmt.Errorf("job of queue %s: payload: %w", j.Queue, err)
	}
	return s, err
}

// RollUp writes the summary of one hour of one device from its blocks, and has its day forgotten when the
// time comes. It runs again when blocks come late.
func (j Jobs) RollUp(ctx context.Context, job store.Job) error {
	s, err := read(job)
	if err != nil {
		return err
	}
	return j.DB.Update(ctx, job.Tenant, func(tx store.Tx) error {
		h := hour{Home: s.Home, Device: s.Device, Begins: s.Begins.UTC()}
		if err := h.sumUp(tx); err != nil {
			return err
		}
		if len(h.Series) > 0 { // else nothing readable is in it, and an hour that is there already stays
			if err := hours.Put(tx, &h); err != nil {
				return err
			}
		}
		s.Begins = h.Begins.Truncate(day)
		return enqueue(tx, QueueForget, s, s.Begins.Add(day+min(j.Keep.blocks(), j.Keep.hours())))
	})
}

// sumUp fills in the series from the blocks of the hour.
func (h *hour) sumUp(tx store.Tx) error {
	lines := map[column]*line{}
	var order []column
	_, err := scan(tx, h.Home, h.Device, h.Begins, h.Begins.Add(time.Hour), func(rows []protocol.Sample) {
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
	for _, col := range order {
		if p := lines[col].points[0]; p != nil {
			h.Series = append(h.Series, summary{col.metric, col.instance, lines[col].kind, p.N, p.Min, p.Max, p.Mean})
		}
	}
	return err
}

// forgetAtOnce is how many rows of blocks one turn of Forget deletes, so that ingest does not notice.
const forgetAtOnce = 1024

// Forget deletes what has become too old of one day of one device. A day that still holds something is
// looked at again when that is due.
func (j Jobs) Forget(ctx context.Context, job store.Job) error {
	s, err := read(job)
	if err != nil {
		return err
	}
	from, to := s.Begins, s.Begins.Add(day)
	err = j.DB.Update(ctx, job.Tenant, func(tx store.Tx) error {
		if j.now().Sub(to) >= j.Keep.blocks() {
			var old []store.Key
			for key, err := range runs.Keys(tx, store.Range{Prefix: store.Key{s.Home, s.Device}, From: from, To: to, Limit: forgetAtOnce}) {
				if err != nil {
					return err
				}
				old = append(old, key)
			}
			for _, k := range old {
				if err := runs.Delete(tx, k...); err != nil {
					return err
				}
			}
			if len(old) == forgetAtOnce {
				return nil // committed in portions; the rest below
			}
		}
		if j.now().Sub(to) < j.Keep.hours() {
			return nil
		}
		for key, err := range hours.Keys(tx, store.Range{Prefix: store.Key{s.Home, s.Device}, From: from, To: to}) {
			if err == nil {
				err = hours.Delete(tx, key...)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return j.again(ctx, job, s)
}

// again enqueues the next look at a day, under an id of its own, while something of it is left.
func (j Jobs) again(ctx context.Context, job store.Job, s span) error {
	return j.DB.Update(ctx, job.Tenant, func(tx store.Tx) error {
		due, left, err := j.next(tx, s)
		if err != nil || !left {
			return err
		}
		payload, err := json.Marshal(s)
		if err != nil {
			return err
		}
		return store.Enqueue(tx, store.Job{
			Queue: QueueForget, ID: fmt.Sprintf("%s/%d/%d", s.Device, s.Begins.Unix(), due.UnixMilli()),
			Payload: payload, Due: due,
		})
	})
}

// next says when the day has to be looked at again; left is false when nothing is left of it.
func (j Jobs) next(tx store.Tx, s span) (due time.Time, left bool, err error) {
	to := s.Begins.Add(day)
	for _, err := range runs.Keys(tx, store.Range{Prefix: store.Key{s.Home, s.Device}, From: s.Begins, To: to, Limit: 1}) {
		if err != nil {
			return due, false, err
		}
		due = to.Add(j.Keep.blocks())
		if now := j.now(); due.Before(now) {
			due = now
		}
		return due, true, nil
	}
	for _, err := range hours.Keys(tx, store.Range{Prefix: store.Key{s.Home, s.Device}, From: s.Begins, To: to, Limit: 1}) {
		return to.Add(j.Keep.hours()), true, err
	}
	return due, false, nil
}
