package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hearthline/hearthline/cloud/store"
)

// View implements store.DB.
func (db *DB) View(ctx context.Context, tenant string, fn func(store.Tx) error) error {
	return db.run(ctx, tenant, false, fn)
}

// Update implements store.DB.
func (db *DB) Update(ctx context.Context, tenant string, fn func(store.Tx) error) error {
	return db.run(ctx, tenant, true, fn)
}

// Batch implements store.DB. The work of all batches together runs on half of the connections at a time:
// when a storm of devices reports, people still get theirs at once.
func (db *DB) Batch(ctx context.Context, work []store.Work) []error {
	errs := make([]error, len(work))
	panics := make([]any, len(work))
	var wg sync.WaitGroup
	for i, w := range work {
		select {
		case db.batch <- struct{}{}:
		case <-ctx.Done():
			errs[i] = ctx.Err()
			continue
		}
		wg.Go(func() {
			defer func() {
				panics[i] = recover()
				<-db.batch
			}()
			errs[i] = db.Update(ctx, w.Tenant, w.Do)
		})
	}
	wg.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
	return errs
}

// run repeats a transaction until it is committed, fails for good, or patience ends.
func (db *DB) run(ctx context.Context, tenant string, writable bool, fn func(store.Tx) error) error {
	if err := store.CheckTenant(tenant); err != nil {
		return err
	}
	away := time.Now().Add(db.opts.Patience)
	for attempt := 0; ; attempt++ {
		err := db.once(ctx, tenant, writable, fn)
		var c conflict
		switch {
		case errors.As(err, &c):
			if attempt >= db.opts.MaxRetries {
				return fmt.Errorf("%w: after %d attempts: %w", store.ErrConflict, attempt+1, c.error)
			}
		case errors.Is(err, errAway):
			// Nothing was committed, so the whole transaction may be run again.
			if time.Now().After(away) {
				return db.name(err)
			}
			attempt = max(attempt, 4) // a database that restarts wants longer pauses
		default:
			return db.name(err)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

// errAway marks ErrUnavailable before the commit was sent.
var errAway = errors.New("not committed")

// pause waits 2 ms to 4 ms after the first attempt, doubling up to 500 ms, the upper half of it random.
func pause(ctx context.Context, attempt int) error {
	d := min(4*time.Millisecond<<min(attempt, 10), 500*time.Millisecond)
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// once runs the transaction one time.
func (db *DB) once(ctx context.Context, tenant string, writable bool, fn func(store.Tx) error) (err error) {
	conn, err := db.pool.Acquire(ctx)
	if err != nil {
		if err = mapError(err); errors.Is(err, store.ErrUnavailable) {
			err = errors.Join(errAway, err)
		}
		return err
	}
	t := &txn{db: db, ctx: ctx, conn: conn, tenant: tenant, writable: writable, pending: &pgx.Batch{}}
	committed := false
	defer func() {
		t.ended = true
		if !committed && t.begun && !conn.Conn().IsClosed() {
			// Also when ctx has ended, so that the connection is fit for its next user.
			clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			if _, rerr := conn.Exec(clean, "rollback"); rerr != nil {
				_ = conn.Conn().Close(clean) // then the server rolls back by itself
			}
			cancel()
		}
		conn.Release()
	}()

	mode := "begin isolation level serializable"
	if !writable {
		mode += " read only"
	}
	t.pending.Queue(mode)
	t.pending.Queue("select set_config('hearth.tenant', $1, true)", tenant)

	if err := fn(t); err != nil {
		if t.failed != nil { // the function may have put its own words around it, or passed over it
			return t.failed
		}
		return err
	}
	if t.failed != nil {
		return t.failed
	}
	t.writes.drain(t.pending)
	if !t.begun && t.pending.Len() == 2 {
		return nil // nothing was asked for
	}
	// Whether the writes before it in the pipeline failed or the commit itself: once it was sent, a broken
	// connection leaves the outcome open.
	t.pending.Queue("commit")
	if err := t.flush(); err != nil {
		if errors.Is(err, errAway) && writable {
			return fmt.Errorf("commit: outcome unknown: %w", withoutAway(err))
		}
		return err
	}
	committed = true
	return nil
}

func withoutAway(err error) error {
	if errs, ok := err.(interface{ Unwrap() []error }); ok && len(errs.Unwrap()) == 2 {
		return errs.Unwrap()[1]
	}
	return err
}

// txn is one run of a transaction. Statements gather in pending, rows in writes, until an answer is needed.
type txn struct {
	db       *DB
	ctx      context.Context // of the View or Update this lives in
	conn     *pgxpool.Conn
	tenant   string
	writable bool
	pending  *pgx.Batch
	writes   writes
	begun    bool
	ended    bool
	failed   error // the first error of the database: after it, the transaction is lost
}

var errEnded = fmt.Errorf("%w: transaction used after its function returned", store.ErrInvalid)

func (t *txn) Tenant() string     { return t.tenant }
func (t *txn) Rows() store.Rows   { return t }
func (t *txn) Codec() store.Codec { return store.JSON }

// fail remembers a database error, after which the server refuses everything but a rollback.
func (t *txn) fail(err error) error {
	err = mapError(err)
	if errors.Is(err, store.ErrUnavailable) {
		err = errors.Join(errAway, err)
	}
	t.failed = err
	return err
}

// flush sends what is pending and waits for it.
func (t *txn) flush() error {
	if t.failed != nil {
		return t.failed
	}
	b := t.pending
	t.pending, t.begun = &pgx.Batch{}, true
	if err := t.conn.SendBatch(t.ctx, b).Close(); err != nil {
		return t.fail(err)
	}
	return nil
}

// ask sends what is pending and a query behind it, in one round trip, and passes its rows to read, which
// must be done with them when it returns.
func (t *txn) ask(sql string, args []any, read func(pgx.Rows) error) error {
	if t.failed != nil {
		return t.failed
	}
	if t.ended {
		return errEnded
	}
	t.writes.drain(t.pending)
	b := t.pending
	t.pending, t.begun = &pgx.Batch{}, true
	before := b.Len()
	b.Queue(sql, args...)
	res := t.conn.SendBatch(t.ctx, b)
	err := func() error {
		for range before {
			if _, err := res.Exec(); err != nil {
				return err
			}
		}
		rows, err := res.Query()
		if err != nil {
			return err
		}
		defer rows.Close()
		if err := read(rows); err != nil {
			return err
		}
		rows.Close()
		return rows.Err()
	}()
	if cerr := res.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return t.fail(err)
	}
	return nil
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }
