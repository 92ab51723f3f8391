package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hearthline/hearthline/cloud/store"
)

// format is the version of everything here that no declaration says: jobs, policies, bookkeeping.
const format = 1

// shape is what the database remembers of a table's declaration.
type shape struct {
	Key     []string            `json:"key"`
	Indexes map[string][]string `json:"indexes"`
	Bytes   bool                `json:"bytes,omitempty"`
}

func columnsOf(cols store.Columns) []string {
	out := make([]string, len(cols))
	for i, c := range cols {
		out[i] = c.Name + " " + c.Kind.String()
	}
	return out
}

func shapeOf(s *store.Schema) shape {
	sh := shape{Key: columnsOf(s.Key), Indexes: map[string][]string{}, Bytes: s.Bytes}
	for _, ix := range s.Indexes {
		sh.Indexes[ix.Name] = columnsOf(ix.On)
		if ix.Many != nil {
			sh.Indexes[ix.Name] = append([]string{"each"}, sh.Indexes[ix.Name]...)
		}
	}
	return sh
}

// migrate brings the database forward to the declared tables, in one transaction that holds the lock row:
// all of it or nothing. New tables and indexes are made, indexes are filled from the documents. Nothing is
// dropped, because an older process may still be using it; an index that is no longer declared is listed
// in the log. A table's key cannot change, nor the columns of an index under the same name.
//
// A process of an older release does not fill an index it does not know. So a release that adds an index
// to a table in use is rolled out with the old processes stopped.
func (db *DB) migrate(ctx context.Context, service string, version int) error {
	url := db.opts.MigrateURL
	if url == "" {
		url = db.opts.URL
	}
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("%w: migration URL: %w", store.ErrInvalid, err)
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return fmt.Errorf("connect to migrate: %w", mapError(err))
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for attempt := 0; ; attempt++ {
		err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			m := migration{db: db, tx: tx, schema: quote(db.opts.Schema), service: service, version: version}
			return m.run(ctx)
		})
		var pg *pgconn.PgError
		// Two processes that make the schema at the same moment collide in the catalogue, whatever "if not
		// exists" says: the loser goes again and finds it made.
		again := errors.As(err, &pg) && (pg.Code == "23505" || pg.Code == "42P06" || pg.Code == "42P07" || pg.Code == "42710" || pg.Code == "40001" || pg.Code == "XX000")
		if !again || attempt == 10 {
			if err != nil {
				return fmt.Errorf("migrate: %w", mapError(err))
			}
			return nil
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
	}
}

type migration struct {
	db      *DB
	tx      pgx.Tx
	schema  string // quoted
	service string
	version int // of the server
}

func (m *migration) exec(ctx context.Context, stmts ...string) error {
	for _, s := range stmts {
		if _, err := m.tx.Exec(ctx, s); err != nil {
			first, _, _ := strings.Cut(s, "\n")
			return fmt.Errorf("%s: %w", first, err)
		}
	}
	return nil
}

func (m *migration) run(ctx context.Context) error {
	var known bool
	err := m.tx.QueryRow(ctx, `select exists (select from information_schema.tables
		where table_schema = $1 and table_name = 'schema_lock')`, m.db.opts.Schema).Scan(&known)
	if err != nil {
		return err
	}
	if !known {
		if err := m.exec(ctx,
			"create schema if not exists "+m.schema,
			"create table if not exists "+m.schema+".schema_lock (one boolean primary key default true check (one), format bigint not null)",
			"create table if not exists "+m.schema+".schema_tables (name text primary key, shape jsonb not null)",
			fmt.Sprintf("insert into %s.schema_lock (format) values (%d) on conflict do nothing", m.schema, format),
		); err != nil {
			return err
		}
	}
	// Whoever holds this row migrates; the others wait here and then find nothing left to do.
	var have int
	if err := m.tx.QueryRow(ctx, "select format from "+m.schema+".schema_lock for update").Scan(&have); err != nil {
		return err
	}
	if have != format {
		return fmt.Errorf("%w: the database has format %d, this program knows %d", store.ErrSchema, have, format)
	}
	if err := m.exec(ctx, m.db.jobs.create...); err != nil {
		return err
	}
	tables := slices.SortedFunc(maps.Values(m.db.tables), func(a, b *table) int { return strings.Compare(a.name, b.name) })
	for _, t := range tables {
		if err := m.table(ctx, t); err != nil {
			return fmt.Errorf("table %s: %w", t.schema.Name, err)
		}
	}
	if err := m.views(ctx); err != nil {
		return err
	}
	return m.grant(ctx)
}

func (m *migration) table(ctx context.Context, t *table) error {
	want := shapeOf(t.schema)
	have := shape{Indexes: map[string][]string{}}
	var doc []byte
	err := m.tx.QueryRow(ctx, "select shape from "+m.schema+".schema_tables where name = $1", t.schema.Name).Scan(&doc)
	known := err == nil
	switch {
	case errors.Is(err, pgx.ErrNoRows):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(doc, &have); err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		if !slices.Equal(have.Key, want.Key) || have.Bytes != want.Bytes {
			return fmt.Errorf("%w: the database has key %v, declared is %v", store.ErrSchema, have.Key, want.Key)
		}
	}
	if !known {
		if err := m.exec(ctx, t.create()...); err != nil {
			return err
		}
	}
	var build []int
	for i, ix := range t.schema.Indexes {
		cols, ok := have.Indexes[ix.Name]
		if ok && slices.Equal(cols, want.Indexes[ix.Name]) {
			continue
		}
		if ok {
			return fmt.Errorf("%w: index %s is over %v, declared is %v; give it a new name", store.ErrSchema, ix.Name, cols, want.Indexes[ix.Name])
		}
		if err := m.exec(ctx, t.createIndex(i)...); err != nil {
			return err
		}
		build = append(build, i)
	}
	if known && len(build) > 0 {
		if err := m.fill(ctx, t); err != nil {
			return err
		}
	}
	for name, cols := range have.Indexes {
		if _, ok := want.Indexes[name]; !ok {
			want.Indexes[name] = cols
			m.db.log.Info("store index no longer declared", "table", t.schema.Name, "index", name)
		}
	}
	if known && len(build) == 0 {
		return nil
	}
	if doc, err = json.Marshal(want); err != nil {
		return err
	}
	_, err = m.tx.Exec(ctx, "insert into "+m.schema+".schema_tables (name, shape) values ($1, $2) on conflict (name) do update set shape = excluded.shape", t.schema.Name, doc)
	return err
}

// fill writes every row of a table again, by way of its declaration, which fills new index columns. The
// policies stand aside for the owner while the transaction holds the table; nobody else sees that.
func (m *migration) fill(ctx context.Context, t *table) error {
	sqlTables := []string{t.name}
	for i := range t.indexes {
		if t.indexes[i].many {
			sqlTables = append(sqlTables, t.indexes[i].name)
		}
	}
	for _, n := range sqlTables {
		if err := m.exec(ctx, "alter table "+n+" no force row level security"); err != nil {
			return err
		}
	}
	s := t.schema
	sql := fmt.Sprintf("declare fill no scroll cursor for select tenant, %s, %s from %s", names(s.Key), t.doc, t.name)
	if err := m.exec(ctx, sql); err != nil {
		return err
	}
	filled := 0
	for {
		rows, err := m.tx.Query(ctx, "fetch 5000 from fill")
		if err != nil {
			return err
		}
		batch := &pgx.Batch{}
		n := 0
		for ; rows.Next(); n++ {
			vals, err := rows.Values()
			if err != nil {
				return err
			}
			raw := rows.RawValues()
			doc := slices.Clone(raw[len(raw)-1])
			if !s.Bytes && rows.FieldDescriptions()[len(raw)-1].Format == pgx.BinaryFormatCode {
				doc = doc[1:] // the version byte of jsonb
			}
			if err := t.refill(batch, vals, doc); err != nil {
				return err
			}
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := m.tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		filled += n
	}
	if err := m.exec(ctx, "close fill"); err != nil {
		return err
	}
	for _, n := range sqlTables {
		if err := m.exec(ctx, "alter table "+n+" force row level security"); err != nil {
			return err
		}
	}
	m.db.log.Info("store indexes built", "table", s.Name, "rows", filled)
	return nil
}

func (t *table) refill(batch *pgx.Batch, vals []any, doc []byte) error {
	s := t.schema
	tenant, _ := vals[0].(string)
	v, err := s.Decode(store.JSON, store.Key(vals[1:1+len(s.Key)]), doc)
	if err != nil {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	r, err := t.row(tenant, v)
	if err != nil {
		return err
	}
	batch.Queue(t.upsert.one, append(r.args, doc)...)
	for i, keys := range r.many {
		for _, k := range keys {
			batch.Queue(t.indexes[i].put.one, k...)
		}
	}
	return nil
}

// grant lets the service role work, when the tables belong to another.
func (m *migration) grant(ctx context.Context) error {
	var owner string
	if err := m.tx.QueryRow(ctx, "select current_user").Scan(&owner); err != nil {
		return err
	}
	if owner == m.service {
		return nil
	}
	role := pgx.Identifier{m.service}.Sanitize()
	return m.exec(ctx,
		"grant usage on schema "+m.schema+" to "+role,
		"grant select, insert, update, delete on all tables in schema "+m.schema+" to "+role,
		"revoke insert, update, delete on "+m.schema+".schema_lock, "+m.schema+".schema_tables from "+role,
	)
}

// verify compares what is there with what is declared, as the service role. A restore of half a dump, a
// migration by hand, a policy that someone switched off: all end here, by name, before anything is served.
func (db *DB) verify(ctx context.Context) error {
	have := map[string]map[string]string{}
	rows, err := db.pool.Query(ctx, `select table_name, column_name, data_type from information_schema.columns
		where table_schema = $1`, db.opts.Schema)
	if err != nil {
		return mapError(err)
	}
	var table, column, kind string
	_, err = pgx.ForEachRow(rows, []any{&table, &column, &kind}, func() error {
		if have[table] == nil {
			have[table] = map[string]string{}
		}
		have[table][column] = kind
		return nil
	})
	if err != nil {
		return mapError(err)
	}
	forced := map[string]bool{}
	rows, err = db.pool.Query(ctx, `select c.relname, c.relrowsecurity and c.relforcerowsecurity
		and (select count(*) = 1 and bool_and(qual like '%hearth.tenant%') from pg_policies p where p.schemaname = n.nspname and p.tablename = c.relname)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = $1 and c.relkind in ('r', 'p')`, db.opts.Schema)
	if err != nil {
		return mapError(err)
	}
	var on *bool
	if _, err = pgx.ForEachRow(rows, []any{&table, &on}, func() error {
		forced[table] = on != nil && *on
		return nil
	}); err != nil {
		return mapError(err)
	}
	for _, t := range db.tables {
		for name, cols := range t.expect() {
			for c, k := range cols {
				if got := have[name][c]; got != k {
					return fmt.Errorf("%w: %s.%s: column %s is %q, declared is %q: the schema was migrated half-way or changed by hand", store.ErrSchema, db.opts.Schema, name, c, got, k)
				}
			}
			if !forced[name] {
				return fmt.Errorf("%w: %s.%s: row-level security is not forced by the one policy on hearth.tenant", store.ErrSchema, db.opts.Schema, name)
			}
		}
	}
	return nil
}

// expect lists the columns of the SQL tables of a table, by name, with their data type.
func (t *table) expect() map[string]map[string]string {
	kinds := [...]string{"text", "bigint", "timestamp with time zone"}
	main := map[string]string{"tenant": "text", t.doc: "jsonb"}
	if t.schema.Bytes {
		main[t.doc] = "bytea"
	}
	for _, c := range t.columns {
		main[c.Name] = kinds[c.Kind]
	}
	for _, l := range t.listed {
		if l != "" {
			main[l] = "boolean"
		}
	}
	out := map[string]map[string]string{t.schema.Name: main}
	for i, ix := range t.schema.Indexes {
		if !t.indexes[i].many {
			continue
		}
		side := map[string]string{"tenant": "text"}
		for _, c := range t.indexes[i].order {
			side[c.Name] = kinds[c.Kind]
		}
		out[t.schema.Name+"_"+ix.Name] = side
	}
	return out
}
