package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hearthline/hearthline/cloud/store"
)

// jobSQL holds the statements on the one table of jobs. It is claimed across tenants, so it has no
// row-level security and no personal data. A job's time in "ready" is when it may be claimed: when it is
// due, or when the lease on it ends. All times are the database's.
type jobSQL struct {
	create                                            []string
	enqueue, cancel, claim, extend, done, retry, bury string
	waiting, dead, revive                             string
}

const jobColumns = "tenant, queue, id, payload, due, ready, attempts, coalesce(owner, ''), coalesce(error, ''), buried"

func newJobSQL(schema string) jobSQL {
	name := quote(schema) + ".jobs"
	q := func(s string) string { return strings.NewReplacer("JOBS", name, "COLUMNS", jobColumns).Replace(s) }
	const held = " where tenant = $1 and queue = $2 and id = $3 and owner = $4 and attempts = $5"
	return jobSQL{
		create: []string{
			q(`create table if not exists JOBS (
				tenant text collate "C" not null, queue text collate "C" not null, id text collate "C" not null,
				payload bytea, due timestamptz not null, ready timestamptz not null, attempts bigint not null default 0,
				owner text, error text, buried timestamptz,
				primary key (tenant, queue, id))`),
			q("create index if not exists jobs_ready on JOBS (queue, ready) where buried is null"),
			q("create index if not exists jobs_dead on JOBS (tenant, buried) where buried is not null"),
		},
		enqueue: q(`insert into JOBS (tenant, queue, id, payload, due, ready)
			values ($1, $2, $3, $4, coalesce($5, clock_timestamp()), coalesce($5, clock_timestamp())) on conflict do nothing`),
		cancel: q("delete from JOBS where tenant = $1 and queue = $2 and id = $3 returning true"),
		claim: q(`with c as materialized (
				select tenant, queue, id, ready as was from JOBS
				where queue = $1 and buried is null and ready <= clock_timestamp()
				order by ready limit $3 for update skip locked)
			update JOBS j set owner = $2, attempts = attempts + 1, ready = clock_timestamp() + $4::interval
			from c where j.tenant = c.tenant and j.queue = c.queue and j.id = c.id
			returning j.tenant, j.queue, j.id, payload, due, ready, attempts, owner, coalesce(error, ''), buried, was`),
		extend:  q("update JOBS set ready = clock_timestamp() + $6::interval" + held),
		done:    q("delete from JOBS" + held),
		retry:   q("update JOBS set owner = null, error = $7, ready = clock_timestamp() + $6::interval" + held),
		bury:    q("update JOBS set owner = null, error = $6, buried = clock_timestamp()" + held),
		waiting: q("select COLUMNS from JOBS where queue = $1 and buried is null order by ready limit $2"),
		dead:    q("select COLUMNS from JOBS where tenant = $1 and buried is not null order by buried limit $2"),
		revive: q(`update JOBS set buried = null, attempts = 0, ready = clock_timestamp()
			where tenant = $1 and queue = $2 and id = $3 and buried is not null`),
	}
}

func (t *txn) Enqueue(j store.Job) error {
	if !t.writable {
		return store.ErrReadOnly
	}
	if t.ended {
		return errEnded
	}
	if err := j.Check(); err != nil {
		return err
	}
	var due *time.Time
	if !j.Due.IsZero() {
		due = &j.Due
	}
	t.pending.Queue(t.db.jobs.enqueue, t.tenant, j.Queue, j.ID, j.Payload, due)
	return nil
}

func (t *txn) Cancel(queue, id string) error {
	if !t.writable {
		return store.ErrReadOnly
	}
	if err := (store.Job{Queue: queue, ID: id}).Check(); err != nil {
		return err
	}
	found := false
	err := t.ask(t.db.jobs.cancel, []any{t.tenant, queue, id}, func(rows pgx.Rows) error {
		found = rows.Next()
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("job %s/%s: %w", queue, id, store.ErrNotFound)
	}
	return err
}

// Claim implements store.Jobs.
func (db *DB) Claim(ctx context.Context, queue, owner string, max int, lease time.Duration) ([]store.Job, error) {
	if owner == "" || lease <= 0 || max <= 0 {
		return nil, fmt.Errorf("%w: claim wants an owner, a lease and a maximum above 0", store.ErrInvalid)
	}
	if err := (store.Job{Queue: queue, ID: "x"}).Check(); err != nil {
		return nil, err
	}
	type claimed struct {
		job store.Job
		was time.Time
	}
	var got []claimed
	err := db.retryConflict(ctx, func() error {
		got = nil
		rows, err := db.pool.Query(ctx, db.jobs.claim, queue, owner, max, lease)
		if err != nil {
			return err
		}
		var c claimed
		return scanJobs(rows, &c.job, func() { got = append(got, c) }, &c.was)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(got, func(a, b claimed) int { return a.was.Compare(b.was) })
	jobs := make([]store.Job, len(got))
	for i, c := range got {
		jobs[i] = c.job
	}
	return jobs, nil
}

// scanJobs reads jobColumns, and more behind them, into j and calls each for every row.
func scanJobs(rows pgx.Rows, j *store.Job, each func(), more ...any) error {
	var buried *time.Time
	into := append([]any{&j.Tenant, &j.Queue, &j.ID, &j.Payload, &j.Due, &j.Until, &j.Attempts, &j.Owner, &j.LastError, &buried}, more...)
	_, err := pgx.ForEachRow(rows, into, func() error {
		j.Due, j.Until, j.BuriedAt = j.Due.UTC(), j.Until.UTC(), time.Time{}
		if buried != nil {
			j.BuriedAt = buried.UTC()
		}
		each()
		j.Payload = nil // the next row gets memory of its own
		return nil
	})
	return err
}

// retryConflict repeats one statement that stands for itself.
func (db *DB) retryConflict(ctx context.Context, fn func() error) error {
	for attempt := 0; ; attempt++ {
		err := mapError(fn())
		if _, ok := err.(conflict); !ok || attempt >= db.opts.MaxRetries {
			return db.name(err)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// held runs a statement on a claimed job, if the lease is still j's. Attempts counts claims, so it is the
// fence: a later claim by the same owner is another lease.
func (db *DB) held(ctx context.Context, sql string, j store.Job, more ...any) error {
	if err := j.Check(); err != nil {
		return err
	}
	return db.retryConflict(ctx, func() error {
		tag, err := db.pool.Exec(ctx, sql, append([]any{j.Tenant, j.Queue, j.ID, j.Owner, j.Attempts}, more...)...)
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("job %s/%s: %w", j.Queue, j.ID, store.ErrLeaseLost)
		}
		return err
	})
}

// Extend implements store.Jobs.
func (db *DB) Extend(ctx context.Context, j store.Job, lease time.Duration) error {
	return db.held(ctx, db.jobs.extend, j, lease)
}

// Done implements store.Jobs.
func (db *DB) Done(ctx context.Context, j store.Job) error { return db.held(ctx, db.jobs.done, j) }

// Retry implements store.Jobs.
func (db *DB) Retry(ctx context.Context, j store.Job, wait time.Duration, why string) error {
	return db.held(ctx, db.jobs.retry, j, wait, store.CutError(why))
}

// Bury implements store.Jobs.
func (db *DB) Bury(ctx context.Context, j store.Job, why string) error {
	return db.held(ctx, db.jobs.bury, j, store.CutError(why))
}

// Waiting implements store.Jobs.
func (db *DB) Waiting(ctx context.Context, queue string, max int) ([]store.Job, error) {
	if err := (store.Job{Queue: queue, ID: "x"}).Check(); err != nil {
		return nil, err
	}
	return db.list(ctx, db.jobs.waiting, queue, max)
}

// Dead implements store.Jobs.
func (db *DB) Dead(ctx context.Context, tenant string, max int) ([]store.Job, error) {
	if err := store.CheckTenant(tenant); err != nil {
		return nil, err
	}
	return db.list(ctx, db.jobs.dead, tenant, max)
}

func (db *DB) list(ctx context.Context, sql string, args ...any) (jobs []store.Job, err error) {
	rows, err := db.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, db.name(mapError(err))
	}
	var j store.Job
	err = scanJobs(rows, &j, func() { jobs = append(jobs, j) })
	return jobs, db.name(mapError(err))
}

// Revive implements store.Jobs.
func (db *DB) Revive(ctx context.Context, tenant, queue, id string) error {
	if err := store.CheckTenant(tenant); err != nil {
		return err
	}
	if err := (store.Job{Queue: queue, ID: id}).Check(); err != nil {
		return err
	}
	return db.retryConflict(ctx, func() error {
		tag, err := db.pool.Exec(ctx, db.jobs.revive, tenant, queue, id)
		if err == nil && tag.RowsAffected() == 0 {
			err = fmt.Errorf("dead job %s/%s: %w", queue, id, store.ErrNotFound)
		}
		return err
	})
}
