// Package bolt keeps the store in one file of one process, with bbolt.
//
// Updates are committed in groups: while one group is being synced to disk, the next one gathers, so that
// many concurrent small transactions share a sync. They run one after the other in one writer, which makes
// them serialisable without conflicts. A function that fails after it has written is taken out and run again
// alone; its neighbours do not notice.
//
// Within the file, every table is a bucket of tenant, key -> document (CBOR), every index a bucket of
// tenant, index key, key -> nothing, in the order-preserving form of store.AppendKey. Blocks of bytes stand
// apart from their keys, see bytes.go, and so do the newest rows of a series, see recent.go.
//
// A full disk is an error of each Update (store.ErrFull) for as long as it lasts; reads go on. After a disk
// error in a commit the store is read-only until it is opened again, because no later sync can be trusted.
//
// The freelist is an array and is not written with each commit but at Close. After a crash it is rebuilt by
// reading all pages, which takes Open a second or more per GB, in exchange for smaller commits all along.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/hearthline/hearthline/cloud/store"
)

// Options configures a DB. Path is required.
type Options struct {
	Path     string           // created with mode 0600
	MapBytes int              // address space to reserve, so that growth never waits for readers; 0 means 64 GiB (1 GiB on 32-bit)
	MaxGroup int              // most transactions in one commit; 0 means 4,096
	Clock    func() time.Time // for leases and due times of jobs; nil means time.Now
	Logger   *slog.Logger     // nil discards

	// NoSync gives up durability: a power cut loses what seemed committed. For filling a store in a
	// measurement, and for proving that a test of durability can fail.
	NoSync bool
}

// DB is a store in a file. It implements store.DB.
type DB struct {
	opts   Options
	log    *slog.Logger
	bolt   *bbolt.DB
	tables map[*store.Schema]int
	names  []tableNames
	room   *room
	values arena // of the writer

	mu       sync.RWMutex // held to send, so that Close knows when the last request is in
	closed   bool
	requests chan []*request
	done     chan struct{} // closed when the writer has returned

	failed error // set by the writer when a sync failed: what is on disk is then unknown
}

type tableNames struct {
	schema  *store.Schema
	primary []byte
	bytes   []byte // nil unless it is a table of blocks
	recent  []byte // nil unless it has series
	indexes [][]byte
	orders  []store.Columns // of the primary key and then of each index
}

// Open opens or creates the file and brings its tables to their declarations. It waits at most a second
// for another process to let go of the file.
func Open(opts Options, tables ...store.Declared) (*DB, error) {
	if opts.Path == "" {
		return nil, fmt.Errorf("%w: bolt: no path", store.ErrInvalid)
	}
	if err := store.Check(tables); err != nil {
		return nil, err
	}
	if opts.MapBytes == 0 {
		opts.MapBytes = 1 << 30
		if ^uint(0)>>32 != 0 {
			opts.MapBytes <<= 6
		}
	}
	if opts.MaxGroup == 0 {
		opts.MaxGroup = 4096
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	file, err := bbolt.Open(opts.Path, 0o600, &bbolt.Options{
		Timeout:         time.Second,
		NoFreelistSync:  true,
		FreelistType:    bbolt.FreelistArrayType,
		InitialMmapSize: opts.MapBytes,
		NoSync:          opts.NoSync,
		NoStatistics:    true,
	})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", opts.Path, openError(err))
	}
	room, err := openRoom(opts.Path)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("open store %s: %w", opts.Path, err)
	}
	db := &DB{
		room:     room,
		opts:     opts,
		log:      opts.Logger,
		bolt:     file,
		tables:   map[*store.Schema]int{},
		requests: make(chan []*request, 256),
		done:     make(chan struct{}),
	}
	for i, d := range tables {
		s := d.Schema()
		db.tables[s] = i
		n := tableNames{schema: s, primary: []byte("table/" + s.Name), orders: []store.Columns{s.Order(-1)}}
		if s.Bytes {
			n.bytes = []byte("bytes/" + s.Name)
		}
		if s.Series > 0 {
			n.recent = []byte("recent/" + s.Name)
		}
		for j, ix := range s.Indexes {
			n.orders = append(n.orders, s.Order(j))
			n.indexes = append(n.indexes, []byte("index/"+s.Name+"/"+ix.Name))
		}
		db.names = append(db.names, n)
	}
	if err := db.migrate(); err != nil {
		room.close()
		file.Close()
		return nil, fmt.Errorf("open store %s: %w", opts.Path, err)
	}
	go db.write()
	return db, nil
}

func openError(err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("%w: another process holds the file", store.ErrUnavailable)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return fmt.Errorf("%w: not a store file, or damaged: %w", store.ErrCorrupt, err)
	case errors.Is(err, fs.ErrPermission):
		return err
	}
	return diskError(err)
}

// View implements store.DB.
func (db *DB) View(ctx context.Context, tenant string, fn func(store.Tx) error) error {
	if err := store.CheckTenant(tenant); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := db.begin(false)
	if err != nil {
		return err
	}
	defer s.tx.Rollback() // a read-only transaction only ends this way; it cannot fail
	t := txn{session: s, tenant: tenant}
	defer t.end()
	return fn(&t)
}

// Update implements store.DB.
func (db *DB) Update(ctx context.Context, tenant string, fn func(store.Tx) error) error {
	if err := store.CheckTenant(tenant); err != nil {
		return err
	}
	return db.submit(ctx, tenant, func(t *txn) error { return fn(t) })
}

// Batch implements store.DB. All the work goes into one commit, unless there is more than MaxGroup.
func (db *DB) Batch(ctx context.Context, work []store.Work) []error {
	errs := make([]error, len(work))
	group := make([]*request, 0, len(work))
	at := make([]int, 0, len(work))
	for i, w := range work {
		if errs[i] = store.CheckTenant(w.Tenant); errs[i] == nil {
			group = append(group, &request{ctx: ctx, tenant: w.Tenant, do: func(t *txn) error { return w.Do(t) }})
			at = append(at, i)
		}
	}
	if len(group) == 0 {
		return errs
	}
	err := db.send(group)
	for i, r := range group {
		if err == nil {
			<-r.done
			r.rethrow()
			errs[at[i]] = r.err
		} else {
			errs[at[i]] = err
		}
	}
	return errs
}

// Bolt returns the file underneath, for tools that measure it. Writing to it is on the writer's own head.
func (db *DB) Bolt() *bbolt.DB { return db.bolt }

// Close implements store.DB. Transactions that were begun are finished first.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	close(db.requests)
	db.mu.Unlock()
	<-db.done
	if db.failed == nil {
		db.bolt.NoFreelistSync = false
		if err := db.bolt.Update(func(*bbolt.Tx) error { return nil }); err != nil {
			db.log.Warn("store freelist not written, the next open reads the whole file", "path", db.opts.Path, "error", err)
		}
	}
	return errors.Join(db.room.close(), db.bolt.Close())
}
