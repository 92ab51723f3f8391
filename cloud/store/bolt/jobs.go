package bolt

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
)

// A job is a row in "jobs" under tenant, queue, id, and stands either in "jobs/ready" under queue, time,
// tenant, id, or in "jobs/dead" under tenant, time, queue, id. Its time in "jobs/ready" is when it may be
// claimed: when it is due, or when the lease on it ends.

var (
	jobCols   = store.Columns{store.Text("tenant"), store.Text("queue"), store.Text("id")}
	readyCols = store.Columns{store.Text("queue"), store.Time("ready"), store.Text("tenant"), store.Text("id")}
	deadCols  = store.Columns{store.Text("tenant"), store.Time("buried"), store.Text("queue"), store.Text("id")}
)

// jobRow is a job as the file keeps it. Microseconds since 1970, as in keys, so that a row finds its place.
type jobRow struct {
	Payload  []byte `cbor:"1,keyasint,omitempty"`
	Due      int64  `cbor:"2,keyasint"`
	Ready    int64  `cbor:"3,keyasint"`
	Attempts int    `cbor:"4,keyasint,omitempty"`
	Owner    string `cbor:"5,keyasint,omitempty"`
	Error    string `cbor:"6,keyasint,omitempty"`
	Buried   int64  `cbor:"7,keyasint,omitempty"`
}

func (r jobRow) job(tenant, queue, id string) store.Job {
	j := store.Job{
		Queue: queue, ID: id, Tenant: tenant, Payload: r.Payload, Attempts: r.Attempts,
		Owner: r.Owner, LastError: r.Error,
		Due: time.UnixMicro(r.Due).UTC(), Until: time.UnixMicro(r.Ready).UTC(),
	}
	if r.Buried != 0 {
		j.BuriedAt = time.UnixMicro(r.Buried).UTC()
	}
	return j
}

func mustKey(cols store.Columns, parts ...any) []byte {
	k, err := store.AppendKey(nil, cols, parts)
	if err != nil {
		panic(err) // the parts were checked when the job came in
	}
	return k
}

func jobKey(tenant, queue, id string) []byte { return mustKey(jobCols, tenant, queue, id) }

// place is where the row stands besides "jobs".
func (r jobRow) place(tenant, queue, id string) (bucket, key []byte) {
	if r.Buried != 0 {
		return deadBucket, mustKey(deadCols, tenant, time.UnixMicro(r.Buried), queue, id)
	}
	return readyBucket, mustKey(readyCols, queue, time.UnixMicro(r.Ready), tenant, id)
}

func (t *txn) loadJob(tenant, queue, id string) (r jobRow, found bool, err error) {
	b := t.tx.Bucket(jobsBucket).Get(jobKey(tenant, queue, id))
	if b == nil {
		return r, false, nil
	}
	if err := store.CBOR.Unmarshal(b, &r); err != nil {
		return r, false, fmt.Errorf("%w: job %s/%s: %w", store.ErrCorrupt, queue, id, err)
	}
	return r, true, nil
}

// moveJob replaces was by now; nil means that there is none.
func (t *txn) moveJob(tenant, queue, id string, was, now *jobRow) error {
	t.writes++
	if was != nil {
		bucket, key := was.place(tenant, queue, id)
		if err := t.tx.Bucket(bucket).Delete(key); err != nil {
			return err
		}
	}
	if now == nil {
		return t.tx.Bucket(jobsBucket).Delete(jobKey(tenant, queue, id))
	}
	b, err := store.CBOR.Marshal(now)
	if err != nil {
		return err
	}
	bucket, key := now.place(tenant, queue, id)
	if err := t.tx.Bucket(bucket).Put(key, nil); err != nil {
		return err
	}
	return t.tx.Bucket(jobsBucket).Put(jobKey(tenant, queue, id), b)
}

func (t *txn) Enqueue(j store.Job) error {
	if t.ended {
		return errEnded
	}
	if !t.tx.Writable() {
		return store.ErrReadOnly
	}
	if err := j.Check(); err != nil {
		return err
	}
	if t.tx.Bucket(jobsBucket).Get(jobKey(t.tenant, j.Queue, j.ID)) != nil {
		return nil
	}
	due := j.Due
	if due.IsZero() {
		due = t.db.opts.Clock()
	}
	r := jobRow{Payload: j.Payload, Due: due.UnixMicro(), Ready: due.UnixMicro()}
	return t.moveJob(t.tenant, j.Queue, j.ID, nil, &r)
}

func (t *txn) Cancel(queue, id string) error {
	if t.ended {
		return errEnded
	}
	if !t.tx.Writable() {
		return store.ErrReadOnly
	}
	if err := (store.Job{Queue: queue, ID: id}).Check(); err != nil {
		return err
	}
	r, found, err := t.loadJob(t.tenant, queue, id)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("job %s/%s: %w", queue, id, store.ErrNotFound)
	}
	return t.moveJob(t.tenant, queue, id, &r, nil)
}

// Claim implements store.Jobs.
func (db *DB) Claim(ctx context.Context, queue, owner string, max int, lease time.Duration) (jobs []store.Job, err error) {
	if owner == "" || lease <= 0 || max <= 0 {
		return nil, fmt.Errorf("%w: claim wants an owner, a lease and a maximum above 0", store.ErrInvalid)
	}
	now := db.opts.Clock()
	if idle, err := db.idle(queue, now); idle || err != nil {
		return nil, err
	}
	err = db.submit(ctx, "", func(t *txn) error {
		jobs = nil
		if err := t.eachReady(queue, now, max, func(tenant, id string, r jobRow) {
			jobs = append(jobs, r.job(tenant, queue, id))
		}); err != nil {
			return err
		}
		for i := range jobs {
			j := &jobs[i]
			was, _, err := t.loadJob(j.Tenant, queue, j.ID)
			if err != nil {
				return err
			}
			r := was
			r.Attempts++
			r.Owner, r.Ready = owner, now.Add(lease).UnixMicro()
			if err := t.moveJob(j.Tenant, queue, j.ID, &was, &r); err != nil {
				return err
			}
			*j = r.job(j.Tenant, queue, j.ID)
		}
		return nil
	})
	return jobs, err
}

// idle tells, without a turn of the writer, that nothing is ready: most claims find nothing.
func (db *DB) idle(queue string, now time.Time) (bool, error) {
	if err := (store.Job{Queue: queue, ID: "x"}).Check(); err != nil {
		return false, err
	}
	s, err := db.begin(false)
	if err != nil {
		return false, err
	}
	defer s.tx.Rollback()
	idle := true
	t := txn{session: s}
	err = t.eachReady(queue, now, 1, func(string, string, jobRow) { idle = false })
	return idle, err
}

// eachReady calls fn for up to max jobs of the queue whose time has come by then, in order.
func (t *txn) eachReady(queue string, then time.Time, max int, fn func(tenant, id string, r jobRow)) error {
	prefix := mustKey(readyCols, queue)
	end := mustKey(readyCols, queue, then.Add(time.Microsecond))
	c := t.tx.Bucket(readyBucket).Cursor()
	for k, _ := c.Seek(prefix); k != nil && bytes.Compare(k, end) < 0 && max > 0; k, _ = c.Next() {
		key, _, err := store.CutKey(k, readyCols)
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		tenant, id := key[2].(string), key[3].(string)
		r, found, err := t.loadJob(tenant, queue, id)
		if err != nil {
			return err
		}
		if !found {
			return fmt.Errorf("%w: job %s/%s is ready but not there", store.ErrCorrupt, queue, id)
		}
		fn(tenant, id, r)
		max--
	}
	return nil
}

// held runs change on the row of a claimed job, if the lease is still j's. A nil result removes the job.
func (db *DB) held(ctx context.Context, j store.Job, change func(r jobRow, now time.Time) *jobRow) error {
	if err := j.Check(); err != nil {
		return err
	}
	return db.submit(ctx, "", func(t *txn) error {
		r, found, err := t.loadJob(j.Tenant, j.Queue, j.ID)
		if err != nil {
			return err
		}
		// Attempts counts claims, so it is the fence: a later claim by the same owner is another lease. A
		// lease that ran out but was given to nobody still holds.
		if !found || r.Owner == "" || r.Owner != j.Owner || r.Attempts != j.Attempts {
			return fmt.Errorf("job %s/%s: %w", j.Queue, j.ID, store.ErrLeaseLost)
		}
		return t.moveJob(j.Tenant, j.Queue, j.ID, &r, change(r, db.opts.Clock()))
	})
}

// Extend implements store.Jobs.
func (db *DB) Extend(ctx context.Context, j store.Job, lease time.Duration) error {
	return db.held(ctx, j, func(r jobRow, now time.Time) *jobRow {
		r.Ready = now.Add(lease).UnixMicro()
		return &r
	})
}

// Done implements store.Jobs.
func (db *DB) Done(ctx context.Context, j store.Job) error {
	return db.held(ctx, j, func(jobRow, time.Time) *jobRow { return nil })
}

// Retry implements store.Jobs.
func (db *DB) Retry(ctx context.Context, j store.Job, wait time.Duration, why string) error {
	return db.held(ctx, j, func(r jobRow, now time.Time) *jobRow {
		r.Owner, r.Error, r.Ready = "", store.CutError(why), now.Add(wait).UnixMicro()
		return &r
	})
}

// Bury implements store.Jobs.
func (db *DB) Bury(ctx context.Context, j store.Job, why string) error {
	return db.held(ctx, j, func(r jobRow, now time.Time) *jobRow {
		r.Owner, r.Error, r.Buried = "", store.CutError(why), now.UnixMicro()
		return &r
	})
}

// Waiting implements store.Jobs.
func (db *DB) Waiting(ctx context.Context, queue string, max int) (jobs []store.Job, err error) {
	if err := (store.Job{Queue: queue, ID: "x"}).Check(); err != nil {
		return nil, err
	}
	s, err := db.begin(false)
	if err != nil {
		return nil, err
	}
	defer s.tx.Rollback()
	t := txn{session: s}
	end := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	err = t.eachReady(queue, end, max, func(tenant, id string, r jobRow) {
		jobs = append(jobs, r.job(tenant, queue, id))
	})
	return jobs, err
}

// Dead implements store.Jobs.
func (db *DB) Dead(ctx context.Context, tenant string, max int) (jobs []store.Job, err error) {
	if err := store.CheckTenant(tenant); err != nil {
		return nil, err
	}
	s, err := db.begin(false)
	if err != nil {
		return nil, err
	}
	defer s.tx.Rollback()
	t := txn{session: s}
	prefix := mustKey(deadCols, tenant)
	c := s.tx.Bucket(deadBucket).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix) && len(jobs) < max; k, _ = c.Next() {
		key, _, err := store.CutKey(k, deadCols)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		queue, id := key[2].(string), key[3].(string)
		r, found, err := t.loadJob(tenant, queue, id)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("%w: job %s/%s is dead but not there", store.ErrCorrupt, queue, id)
		}
		jobs = append(jobs, r.job(tenant, queue, id))
	}
	return jobs, nil
}

// Revive implements store.Jobs.
func (db *DB) Revive(ctx context.Context, tenant, queue, id string) error {
	if err := store.CheckTenant(tenant); err != nil {
		return err
	}
	if err := (store.Job{Queue: queue, ID: id}).Check(); err != nil {
		return err
	}
	return db.submit(ctx, "", func(t *txn) error {
		was, found, err := t.loadJob(tenant, queue, id)
		if err != nil {
			return err
		}
		if !found || was.Buried == 0 {
			return fmt.Errorf("dead job %s/%s: %w", queue, id, store.ErrNotFound)
		}
		r := was
		r.Buried, r.Attempts, r.Ready = 0, 0, db.opts.Clock().UnixMicro()
		return t.moveJob(tenant, queue, id, &was, &r)
	})
}

// releaseLeases ends all leases at Open: their owners were in a process that is gone, since only one can
// hold the file.
func (db *DB) releaseLeases() error {
	s, err := db.begin(true)
	if err != nil {
		return err
	}
	defer s.tx.Rollback()
	t := txn{session: s}
	type held struct {
		tenant, queue, id string
		was               jobRow
	}
	var all []held
	c := s.tx.Bucket(jobsBucket).Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		key, _, err := store.CutKey(k, jobCols)
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		h := held{tenant: key[0].(string), queue: key[1].(string), id: key[2].(string)}
		if err := store.CBOR.Unmarshal(v, &h.was); err != nil {
			return fmt.Errorf("%w: job %s/%s: %w", store.ErrCorrupt, h.queue, h.id, err)
		}
		if h.was.Owner != "" {
			all = append(all, h)
		}
	}
	now := db.opts.Clock().UnixMicro()
	for _, h := range all {
		r := h.was
		r.Owner, r.Ready = "", now
		if err := t.moveJob(h.tenant, h.queue, h.id, &h.was, &r); err != nil {
			return err
		}
	}
	if len(all) == 0 {
		return nil
	}
	return s.tx.Commit()
}
