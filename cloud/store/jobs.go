package store

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Job is work that must happen outside a transaction, at least once, at or after a time: a command, a
// notification, a timer. It is written in the transaction that makes it necessary and claimed by any
// process under a lease.
//
// Claims go across tenants, past the isolation of tables, so a job holds references and never personal
// data: what the handler needs it reads from the tenant's tables.
type Job struct {
	Queue   string    // who handles it, such as "command"; a-z, 0-9, _ and -, at most 64
	ID      string    // idempotency key, unique within tenant and queue; a key text (see Text)
	Tenant  string    // set by Enqueue from the transaction
	Payload []byte    // references for the handler, at most 64 KiB
	Due     time.Time // not before; the zero time is at once

	// Set by the store.
	Attempts  int       // claims so far, this one included; with Owner it proves the lease
	Owner     string    // who holds the lease
	Until     time.Time // when the lease, or the wait before the next attempt, ends
	LastError string    // from the last Retry or Bury
	BuriedAt  time.Time // zero unless on the dead list
}

// MaxPayload is the largest payload of a job, in bytes.
const MaxPayload = 64 << 10

// Enqueue writes a job within tx. A job with the same queue and id that is still there, waiting, claimed or
// dead, stays as it is, and Enqueue returns nil: the id is the idempotency key.
func Enqueue(tx Tx, j Job) error { return tx.Rows().Enqueue(j) }

// Cancel removes a job that is not done, such as a timer that no longer matters. It returns ErrNotFound
// when there is none. A handler that has already claimed it goes on, and its Done returns ErrLeaseLost.
func Cancel(tx Tx, queue, id string) error { return tx.Rows().Cancel(queue, id) }

// Jobs is the claiming side of the queues. Times are the engine's: the database's clock on PostgreSQL, so
// that instances with different clocks agree.
type Jobs interface {
	// Claim leases up to max due jobs of a queue to owner, longest due first. A job whose lease runs out is
	// claimed again by whoever asks first.
	Claim(ctx context.Context, queue, owner string, max int, lease time.Duration) ([]Job, error)
	// Extend renews the lease of a claimed job, or returns ErrLeaseLost.
	Extend(ctx context.Context, j Job, lease time.Duration) error
	// Done removes a claimed job, or returns ErrLeaseLost.
	Done(ctx context.Context, j Job) error
	// Retry gives a claimed job back, to be claimed again after wait, or returns ErrLeaseLost.
	Retry(ctx context.Context, j Job, wait time.Duration, why string) error
	// Bury moves a claimed job to the dead list, or returns ErrLeaseLost.
	Bury(ctx context.Context, j Job, why string) error
	// Waiting lists up to max jobs of a queue that are neither done nor dead, soonest first, in all tenants.
	Waiting(ctx context.Context, queue string, max int) ([]Job, error)
	// Dead lists up to max dead jobs of a tenant, all queues, oldest first.
	Dead(ctx context.Context, tenant string, max int) ([]Job, error)
	// Revive gives a dead job a new life from attempt 0, or returns ErrNotFound.
	Revive(ctx context.Context, tenant, queue, id string) error
}

// Check returns ErrInvalid when a job's queue, id or payload is not allowed.
func (j Job) Check() error {
	if err := CheckTenant(j.Queue); err != nil { // the same alphabet
		return fmt.Errorf("%w: queue %q", ErrInvalid, j.Queue)
	}
	if j.ID == "" {
		return fmt.Errorf("%w: job without an id", ErrInvalid)
	}
	if err := checkText("id", j.ID); err != nil {
		return err
	}
	if len(j.Payload) > MaxPayload {
		return fmt.Errorf("%w: job %s/%s: payload of %d bytes, at most %d", ErrInvalid, j.Queue, j.ID, len(j.Payload), MaxPayload)
	}
	if !j.Due.IsZero() {
		_, _, err := canonical(Time("due"), j.Due)
		return err
	}
	return nil
}

// CutError shortens the text of an error to what a job keeps: 500 bytes of valid text.
func CutError(why string) string {
	if len(why) > 500 {
		why = why[:500]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(why, "\x00", ""), "")
}
