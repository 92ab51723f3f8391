package storebench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/store/postgres"
	"github.com/hearthline/hearthline/cloud/store/postgres/pgtest"
)

// backend is an engine with what it takes to measure it and to read past it.
type backend interface {
	open(ctx context.Context) error   // for filling
	reopen(ctx context.Context) error // as in use: everything durable
	db() store.DB
	codec() store.Codec
	workers() int
	size(ctx context.Context) (int64, error)
	// rawPage reads the newest limit documents of a home as the engine's own user would.
	rawPage(ctx context.Context, home string, limit int) ([][]byte, error)
	// rawCaller reads a customer, a membership and a device by their keys, and returns how many it found.
	rawCaller(ctx context.Context, who int) (int, error)
	remove() error
}

func newBackend(o options) (backend, error) {
	switch o.backend {
	case "bolt":
		dir := o.dir
		if dir == "" {
			var err error
			if dir, err = os.MkdirTemp("", "storebench"); err != nil {
				return nil, err
			}
		}
		return &boltBackend{path: filepath.Join(dir, "store.db"), dir: dir, temporary: o.dir == ""}, nil
	case "postgres":
		return &pgBackend{service: o.url, owner: o.ownerURL}, nil
	}
	return nil, fmt.Errorf("backend %q: want bolt or postgres", o.backend)
}

type boltBackend struct {
	path, dir string
	temporary bool
	store     *bolt.DB
}

func (b *boltBackend) open(context.Context) (err error) {
	b.store, err = bolt.Open(bolt.Options{Path: b.path, NoSync: true}, tables()...)
	return err
}

func (b *boltBackend) reopen(ctx context.Context) (err error) {
	if err := b.store.Close(); err != nil {
		return err
	}
	b.store, err = bolt.Open(bolt.Options{Path: b.path}, tables()...)
	return err
}

func (b *boltBackend) db() store.DB       { return b.store }
func (b *boltBackend) codec() store.Codec { return store.CBOR }
func (b *boltBackend) workers() int       { return 2 }

func (b *boltBackend) size(context.Context) (size int64, err error) {
	err = b.store.Bolt().View(func(tx *bbolt.Tx) error {
		size = tx.Size()
		return nil
	})
	return size, err
}

// key is a key as the file has it: see the package comment of bolt.
func key(cols store.Columns, parts ...any) ([]byte, error) {
	return store.AppendKey([]byte(tenant+"\x00"), cols, parts)
}

func (b *boltBackend) rawPage(_ context.Context, home string, limit int) (docs [][]byte, err error) {
	prefix, err := key(store.Columns{store.Text("home")}, home)
	if err != nil {
		return nil, err
	}
	after := bytes.Clone(prefix)
	after[len(after)-1]++
	docs = make([][]byte, 0, limit)
	err = b.store.Bolt().View(func(tx *bbolt.Tx) error {
		// Which keys there are is not part of the reading, but no one knows them without looking.
		table := tx.Bucket([]byte("table/entries"))
		c := table.Cursor()
		k, _ := c.Seek(after)
		if k == nil {
			k, _ = c.Last()
		} else {
			k, _ = c.Prev()
		}
		for ; bytes.HasPrefix(k, prefix) && len(docs) < limit; k, _ = c.Prev() {
			docs = append(docs, bytes.Clone(table.Get(k)))
		}
		return nil
	})
	return docs, err
}

func (b *boltBackend) rawCaller(_ context.Context, who int) (found int, err error) {
	customer := fmt.Sprintf("c-%07d", who)
	err = b.store.Bolt().View(func(tx *bbolt.Tx) error {
		for _, r := range []struct {
			bucket string
			cols   store.Columns
			parts  []any
		}{
			{"table/customers", store.Columns{store.Text("customer")}, []any{customer}},
			{"table/memberships", store.Columns{store.Text("home"), store.Text("customer"), store.Time("begins")}, []any{homeID(who), customer, epoch}},
			{"table/devices", store.Columns{store.Text("home"), store.Text("device")}, []any{homeID(who), deviceID(who)}},
		} {
			k, err := key(r.cols, r.parts...)
			if err != nil {
				return err
			}
			if doc := bytes.Clone(tx.Bucket([]byte(r.bucket)).Get(k)); doc != nil {
				found++
			}
		}
		return nil
	})
	return found, err
}

func (b *boltBackend) remove() error {
	var err error
	if b.store != nil {
		err = b.store.Close()
	}
	if b.temporary {
		err = errors.Join(err, os.RemoveAll(b.dir))
	}
	return err
}

type pgBackend struct {
	service, owner string
	server         *pgtest.Server
	store          *postgres.DB
	// raw is what someone would write by hand on the same tables: the same server, role, policies, driver,
	// prepared statements and planner settings, but a pool of its own, the tenant set once for each
	// connection, and each read a statement by itself, without a transaction around it.
	raw *pgxpool.Pool
}

func (b *pgBackend) open(ctx context.Context) (err error) {
	if b.service == "" {
		// As Debian sets it up, but with the memory that a machine of its own would give it.
		if b.server, err = pgtest.New("shared_buffers=1GB", "effective_cache_size=4GB", "max_wal_size=4GB"); err != nil {
			return err
		}
		if b.service, b.owner, err = b.server.Database(); err != nil {
			return err
		}
	}
	if b.store, err = postgres.Open(ctx, postgres.Options{URL: b.service, MigrateURL: b.owner}, tables()...); err != nil {
		return err
	}
	cfg, err := pgxpool.ParseConfig(b.service)
	if err != nil {
		return err
	}
	cfg.AfterConnect = func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set hearth.tenant = '"+tenant+"'; set enable_seqscan = off; set enable_bitmapscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set jit = off")
		return err
	}
	b.raw, err = pgxpool.NewWithConfig(ctx, cfg)
	return err
}

func (b *pgBackend) reopen(ctx context.Context) error {
	admin := b.owner
	if admin == "" {
		admin = b.service
	}
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "vacuum analyze") // what autovacuum does in its own time
	return err
}

func (b *pgBackend) db() store.DB       { return b.store }
func (b *pgBackend) codec() store.Codec { return store.JSON }
func (b *pgBackend) workers() int       { return 4 }

func (b *pgBackend) size(ctx context.Context) (size int64, err error) {
	err = b.raw.QueryRow(ctx, `select coalesce(sum(pg_total_relation_size(c.oid)), 0) from pg_class c
		join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'hearthline' and c.relkind = 'r'`).Scan(&size)
	return size, err
}

func (b *pgBackend) rawPage(ctx context.Context, home string, limit int) ([][]byte, error) {
	rows, err := b.raw.Query(ctx, "select doc from hearthline.entries where tenant = $1 and home = $2 order by happened desc, entry desc limit $3", tenant, home, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[[]byte])
}

func (b *pgBackend) rawCaller(ctx context.Context, who int) (found int, err error) {
	customer := fmt.Sprintf("c-%07d", who)
	conn, err := b.raw.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	for _, q := range []struct {
		sql  string
		args []any
	}{
		{"select doc from hearthline.customers where tenant = $1 and customer = $2", []any{tenant, customer}},
		{"select doc from hearthline.memberships where tenant = $1 and home = $2 and customer = $3", []any{tenant, homeID(who), customer}},
		{"select doc from hearthline.devices where tenant = $1 and home = $2 and device = $3", []any{tenant, homeID(who), deviceID(who)}},
	} {
		var doc []byte
		if err := conn.QueryRow(ctx, q.sql, q.args...).Scan(&doc); err != nil {
			return found, err
		}
		found++
	}
	return found, nil
}

func (b *pgBackend) remove() error {
	var err error
	if b.raw != nil {
		b.raw.Close()
	}
	if b.store != nil {
		err = b.store.Close()
	}
	if b.server != nil {
		err = errors.Join(err, b.server.Close())
	}
	return err
}
