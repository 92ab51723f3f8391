// Package store is how the cloud keeps what it knows: typed tables with declared indexes, inside
// serialisable transactions, on an engine chosen at start. Domain code is written once against this
// package; store/bolt keeps everything in one file of one process, store/postgres in any database that
// speaks PostgreSQL, shared by many processes.
//
// A table is declared once, as a package variable beside the type it holds:
//
//	var tickets = store.NewTable("tickets", store.Spec[cloud.Ticket]{
//		Key:   store.Columns{store.Text("home"), store.Text("ticket")},
//		KeyOf: func(t *cloud.Ticket) store.Key { return store.Key{t.Home, t.ID} },
//		Indexes: []store.Index[cloud.Ticket]{{
//			Name: "by_due",
//			On:   store.Columns{store.Text("state"), store.Time("due")},
//			Of:   func(t *cloud.Ticket) store.Key { return store.Key{t.State, t.Due} },
//		}},
//	})
//
// and used inside a transaction:
//
//	err := db.Update(ctx, tenant, func(tx store.Tx) error {
//		t, err := tickets.Get(tx, home, id)
//		if err != nil {
//			return err
//		}
//		t.State = "closed"
//		return tickets.Put(tx, &t)
//	})
//
// The tenant is the first part of every key and every index, set by the transaction and nowhere else: no
// table operation can name another tenant.
//
// # Transactions
//
// View and Update are serialisable. Their function may run more than once (a conflict on PostgreSQL, a
// neighbour that failed in the same group commit on bolt), so it must have no effect but its writes: set outer variables afresh on each run, send nothing, count nothing. What must leave the
// process is enqueued in the same transaction (see Enqueue). Do not start a transaction within another.
//
// One Update stays within one home (or one other root, such as a customer), so that an engine can place
// homes on different machines. To commit the work of many homes at once, as ingest does, use Batch: each
// piece of work is a transaction of its own, and an engine with a single log commits them together.
package store

import (
	"context"
	"errors"
)

var (
	// ErrNotFound is returned by Get and Delete when there is no such row.
	ErrNotFound = errors.New("store: not found")
	// ErrExists is returned by Insert when a row with this key is already there.
	ErrExists = errors.New("store: already exists")
	// ErrInvalid is returned for a key, document or tenant that the contract does not allow: a missing or
	// wrongly typed key part, text with a NUL or invalid UTF-8 in a key, a time outside the years 1 to 9999.
	ErrInvalid = errors.New("store: invalid")
	// ErrReadOnly is returned by a write within View.
	ErrReadOnly = errors.New("store: write in a read-only transaction")
	// ErrUnknownTable is returned when a table was not given to the engine's Open.
	ErrUnknownTable = errors.New("store: table not declared at open")
	// ErrConflict is returned by Update when the engine gave up repeating a transaction that kept colliding.
	ErrConflict = errors.New("store: too many conflicts")
	// ErrFull is returned by writes while the disk has no room. Reads go on.
	ErrFull = errors.New("store: disk full")
	// ErrUnavailable is returned when the engine cannot be reached, or can no longer promise durability.
	ErrUnavailable = errors.New("store: unavailable")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("store: closed")
	// ErrCorrupt is returned when what is on disk, or in a backup, is not what was written.
	ErrCorrupt = errors.New("store: corrupt")
	// ErrSchema is returned by Open when the tables on disk cannot become the declared ones.
	ErrSchema = errors.New("store: schema does not match")
	// ErrLeaseLost is returned for a job whose lease ran out and was given to another owner.
	ErrLeaseLost = errors.New("store: lease lost")
)

// DB is a store. All methods may be called concurrently.
type DB interface {
	// View runs fn on a consistent snapshot of one tenant. It returns fn's error. fn may run more than once.
	View(ctx context.Context, tenant string, fn func(tx Tx) error) error

	// Update runs fn and commits its writes durably, all or none. It returns fn's error, in which case
	// nothing was written. fn may run more than once. After ErrUnavailable the writes may be there or not.
	Update(ctx context.Context, tenant string, fn func(tx Tx) error) error

	// Batch runs every piece of work as an Update of its own and returns one error for each, in order;
	// one that fails takes no other with it. bolt runs them in order and commits them with one sync;
	// PostgreSQL runs them concurrently, so work of one home belongs in one piece.
	Batch(ctx context.Context, work []Work) []error

	Jobs

	// Close waits for running transactions and releases the store.
	Close() error
}

// Work is one transaction of a Batch.
type Work struct {
	Tenant string
	Do     func(tx Tx) error
}

// Tx is one transaction within one tenant. It is valid only while its function runs, and only in the
// goroutine of that function. Domain code hands it to tables; Rows is for them alone.
type Tx interface {
	Tenant() string
	Rows() Rows
}

// Rows is what an engine provides to tables: rows as bytes, keys as parts. See Schema.
type Rows interface {
	Codec() Codec
	// Get returns the document at key, valid until the next call on Rows, or ErrNotFound.
	Get(s *Schema, key Key) ([]byte, error)
	// Put writes doc, the encoding of v, and the index rows that follow from v. With insert it returns
	// ErrExists instead of replacing a row. The engine may keep doc.
	Put(s *Schema, v any, doc []byte, insert bool) error
	// Delete removes the row at key and its index rows, or returns ErrNotFound.
	Delete(s *Schema, key Key) error
	// Scan calls yield in order for each row in the range until it returns false. pos is the row's place
	// in the order, as Range.After takes it; pos and doc are valid until yield returns. yield may write.
	// doc may be nil when the range says KeysOnly.
	Scan(s *Schema, r Range, yield func(pos, doc []byte) bool) error
	// Room returns an empty slice with room for n bytes, which is the engine's again when the transaction ends.
	Room(n int) []byte
	Enqueue(j Job) error
	Cancel(queue, id string) error
}
