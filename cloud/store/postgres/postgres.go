// Package postgres keeps the store in a database that speaks PostgreSQL, shared by any number of
// processes.
//
// Every table is a real SQL table: the tenant, the parts of the key and of the indexes as columns, the
// document as jsonb, a block as bytea. An index in which a document stands more than once is a table of
// its own. Someone with psql sees what they expect:
//
//	set hearth.tenant = 'acme';
//	select * from hearthline.open_matters;
//	select happened, doc->>'kind' from hearthline.entries where home = 'h1' order by happened desc;
//
// There is a view for each question that a support manager asks; \d+ hearthline.* lists them with their
// questions, views.sql holds them. Whoever has psql may set any tenant: it is for those who may see all.
//
// # Isolation of tenants
//
// Row-level security is forced on every table: without hearth.tenant there are no rows, not for the owner
// of the tables either. Only superusers and roles with BYPASSRLS see through it, so Open refuses to work
// as one. Every statement names the tenant as well; the policy is there for the one that would forget.
//
// # Transactions
//
// All transactions are SERIALIZABLE and are repeated, with growing random pauses, when the database reports
// a conflict. Writes are sent together, before the next read or with the commit, so an error in one may
// be reported by a later call in the same transaction; the transaction fails all the same. When the
// connection breaks during a commit, nobody knows the outcome, and Update returns ErrUnavailable: the
// caller finds out by looking, or by writing with Insert.
//
// See SHARDING.md for Citus, YugabyteDB and CockroachDB.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hearthline/hearthline/cloud/store"
)

// Options configures a DB. URL is required.
type Options struct {
	URL        string        // of the service role, such as postgres://hearth@db/hearth; must be neither superuser nor BYPASSRLS
	MigrateURL string        // of the role that owns the tables; "" means the service role owns them
	Schema     string        // SQL schema; "" means hearthline
	MaxConns   int           // connections of this process, half of them for Batch at most; 0 means 16
	MaxRetries int           // repeats of a transaction in conflict; 0 means 20
	Patience   time.Duration // how long transactions and Open wait for a database that is away; 0 means 5s
	Logger     *slog.Logger  // nil discards
}

// minVersion is the oldest major version that is still to be had; the tests run on 15. CockroachDB and
// YugabyteDB report the version they are compatible with.
const minVersion = 13_00_00

// DB is a store in a database. It implements store.DB.
type DB struct {
	opts   Options
	place  string // user@host:port/database, for errors
	pool   *pgxpool.Pool
	batch  chan struct{} // holds a token for each piece of work of a Batch that is under way
	log    *slog.Logger
	tables map[*store.Schema]*table
	jobs   jobSQL
}

// Open connects, brings the tables to their declarations and checks that the database can be trusted with
// tenants. Several processes may do this at once; one migrates and the others wait.
func Open(ctx context.Context, opts Options, tables ...store.Declared) (*DB, error) {
	if err := store.Check(tables); err != nil {
		return nil, err
	}
	if opts.Schema == "" {
		opts.Schema = "hearthline"
	}
	if opts.MaxConns == 0 {
		opts.MaxConns = 16
	}
	if opts.MaxRetries == 0 {
		opts.MaxRetries = 20
	}
	if opts.Patience == 0 {
		opts.Patience = 5 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	cfg, err := pgxpool.ParseConfig(opts.URL)
	if err != nil {
		return nil, fmt.Errorf("%w: database URL: %w", store.ErrInvalid, err) // pgx leaves the password out
	}
	cfg.MaxConns = int32(opts.MaxConns)
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.AfterConnect = tune
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	db := &DB{
		opts: opts, log: opts.Logger, place: where(cfg.ConnConfig), batch: make(chan struct{}, max(1, opts.MaxConns/2)),
		tables: map[*store.Schema]*table{}, jobs: newJobSQL(opts.Schema),
	}
	for _, d := range tables {
		t, err := newTable(opts.Schema, d.Schema())
		if err != nil {
			return nil, err
		}
		db.tables[d.Schema()] = t
	}
	if db.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("database %s: %w", db.place, err)
	}
	if err := db.prepare(ctx, cfg.ConnConfig); err != nil {
		db.pool.Close()
		return nil, fmt.Errorf("database %s: %w", db.place, err)
	}
	return db, nil
}

// where names a database without its password.
func where(c *pgx.ConnConfig) string {
	return fmt.Sprintf("%s@%s/%s", c.User, net.JoinHostPort(c.Host, fmt.Sprint(c.Port)), c.Database)
}

// tune keeps plans to what every statement here is made for, walking an index in order. Planners guess
// badly on fresh tables, and a sequential scan under SERIALIZABLE also locks the whole table against
// everyone's writes. A database that does not know a setting goes without.
func tune(ctx context.Context, c *pgx.Conn) error {
	for _, name := range []string{"enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit"} {
		if _, err := c.Exec(ctx, "set "+name+" = off"); err != nil && c.IsClosed() {
			return err
		}
	}
	return nil
}

// prepare waits for the database, checks server and role, and migrates.
func (db *DB) prepare(ctx context.Context, cfg *pgx.ConnConfig) error {
	var version int
	var super, bypass bool
	err := db.patiently(ctx, func() error {
		err := db.pool.QueryRow(ctx, `select current_setting('server_version_num')::int, rolsuper, rolbypassrls
			from pg_roles where rolname = current_user`).Scan(&version, &super, &bypass)
		return mapError(err)
	})
	if err != nil {
		return err
	}
	if err := checkVersion(version); err != nil {
		return err
	}
	if super || bypass {
		return fmt.Errorf("%w: role %s is a superuser or may bypass row-level security, which is what keeps tenants apart", store.ErrInvalid, cfg.User)
	}
	if err := db.migrate(ctx, cfg.User, version); err != nil {
		return err
	}
	return db.verify(ctx)
}

func checkVersion(version int) error {
	if version < minVersion {
		return fmt.Errorf("%w: server version %d.%d is too old, want %d", store.ErrSchema, version/10000, version%10000, minVersion/10000)
	}
	return nil
}

// patiently repeats fn while the database is away, up to Options.Patience.
func (db *DB) patiently(ctx context.Context, fn func() error) error {
	end := time.Now().Add(db.opts.Patience)
	for attempt := 0; ; attempt++ {
		err := fn()
		if !errors.Is(err, store.ErrUnavailable) || time.Now().After(end) {
			return err
		}
		if err := pause(ctx, attempt+4); err != nil {
			return err
		}
	}
}

// Close implements store.DB.
func (db *DB) Close() error {
	db.pool.Close()
	return nil
}

// name says which database is full or away.
func (db *DB) name(err error) error {
	if errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrUnavailable) {
		return fmt.Errorf("database %s: %w", db.place, err)
	}
	return err
}

// conflict is an error after which the same transaction may well succeed.
type conflict struct{ error }

func (c conflict) Unwrap() error { return c.error }

// mapError gives database errors the meaning that the contract knows.
func mapError(err error) error {
	if err == nil {
		return nil
	}
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError // may wrap the deadline of connecting, which is not the caller's
	if !errors.As(err, &pg) {
		var netErr net.Error
		if !errors.As(err, &connect) && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
			return err
		}
		if connect != nil || errors.As(err, &netErr) || pgconn.SafeToRetry(err) || isEOF(err) {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		if strings.Contains(err.Error(), "closed pool") {
			return store.ErrClosed
		}
		return err
	}
	switch code := pg.Code; {
	case code == "40001", code == "40P01":
		return conflict{err}
	case code == "53100":
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	case code == "22P05", code == "22021", code == "22P02", code == "54000":
		return fmt.Errorf("%w: %w", store.ErrInvalid, err)
	case strings.HasPrefix(code, "28"):
		return err // wrong password or role: waiting does not help
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "57P"), code == "53300", code == "25006":
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}
