package app

import (
	"context"
	"fmt"
	"slices"

	"github.com/hearthline/hearthline/cloud/effects"
	"github.com/hearthline/hearthline/cloud/store"
)

// wakingDB is a store that says, after each commit, which homes were touched (timeline.Touch) and which
// queues have something to do. Both are hints: whoever misses one looks by himself, a little later. A job
// that nobody would ever do fails its transaction.
type wakingDB struct {
	store.DB
	handled  map[string]effects.Handler // by queue; nil until it is known
	wake     func(tenant, home string)
	enqueued func(queue string)
}

func (db *wakingDB) Update(ctx context.Context, tenant string, fn func(tx store.Tx) error) error {
	var last *watched
	err := db.DB.Update(ctx, tenant, func(tx store.Tx) error {
		last = &watched{Tx: tx, db: db} // afresh on each run
		return fn(last)
	})
	if err == nil {
		db.tell(tenant, last)
	}
	return err
}

func (db *wakingDB) Batch(ctx context.Context, work []store.Work) []error {
	last := make([]*watched, len(work))
	watching := make([]store.Work, len(work))
	for i, w := range work {
		watching[i] = store.Work{Tenant: w.Tenant, Do: func(tx store.Tx) error {
			last[i] = &watched{Tx: tx, db: db}
			return w.Do(last[i])
		}}
	}
	errs := db.DB.Batch(ctx, watching)
	for i, err := range errs {
		if err == nil {
			db.tell(work[i].Tenant, last[i])
		}
	}
	return errs
}

func (db *wakingDB) tell(tenant string, w *watched) {
	if w == nil {
		return
	}
	for _, home := range w.homes {
		db.wake(tenant, home)
	}
	for _, queue := range w.queues {
		db.enqueued(queue)
	}
}

// watched is a transaction that notes what it touches.
type watched struct {
	store.Tx
	db            *wakingDB
	homes, queues []string
}

// Touch implements what timeline.Touch looks for.
func (w *watched) Touch(home string) {
	if !slices.Contains(w.homes, home) {
		w.homes = append(w.homes, home)
	}
}

func (w *watched) Rows() store.Rows { return watchedRows{w.Tx.Rows(), w} }

type watchedRows struct {
	store.Rows
	w *watched
}

func (r watchedRows) Enqueue(j store.Job) error {
	if r.w.db.handled != nil && r.w.db.handled[j.Queue] == nil {
		return fmt.Errorf("nobody works on queue %q", j.Queue)
	}
	err := r.Rows.Enqueue(j)
	if err == nil && j.Due.IsZero() && !slices.Contains(r.w.queues, j.Queue) {
		r.w.queues = append(r.w.queues, j.Queue)
	}
	return err
}
