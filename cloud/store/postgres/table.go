package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hearthline/hearthline/cloud/store"
)

// table is a schema with its SQL.
type table struct {
	schema  *store.Schema
	name    string        // quoted, with the SQL schema
	doc     string        // the document column: doc jsonb or block bytea
	columns store.Columns // of the key, then those that single-valued indexes add
	listed  []string      // by index: the column that says whether a row stands in it, "" when all do or it is a table
	indexes []tableIndex

	upsert           write
	get, del, insert string
}

type tableIndex struct {
	many  bool
	name  string        // quoted: of the index, or of its own table when many
	order store.Columns // without repeated names
	where string        // what a row must fulfil to stand in the index, "" when all do
	put   write         // when many: insert a row
	clear write         // when many: remove all rows of a key
}

func quote(name string) string { return `"` + name + `"` } // names are a-z, 0-9 and _: see store.Check

func sqlType(k store.Kind) string {
	return [...]string{`text collate "C"`, "bigint", "timestamptz"}[k]
}

func newTable(schema string, s *store.Schema) (*table, error) {
	t := &table{schema: s, name: quote(schema) + "." + quote(s.Name), doc: "doc"}
	if s.Bytes {
		t.doc = "block"
	}
	t.columns = slices.Clone(s.Key)
	t.listed = make([]string, len(s.Indexes))
	for i, ix := range s.Indexes {
		ti := tableIndex{many: ix.Many != nil, order: unique(s.Order(i))}
		if ti.many {
			ti.name = quote(schema) + "." + quote(s.Name+"_"+ix.Name)
			ti.put = insertion(ti.name, quoted(ti.order), sqlTypes(ti.order), "on conflict do nothing")
			ti.clear = deletion(ti.name, s.Key)
			t.indexes = append(t.indexes, ti)
			continue
		}
		ti.name = quote(s.Name + "_" + ix.Name)
		for _, c := range ix.On {
			if !has(t.columns, c.Name) {
				t.columns = append(t.columns, c)
			}
		}
		if !s.Bytes {
			// Its columns may be there for the key's or another index's sake, so they cannot tell.
			t.listed[i] = "in_" + ix.Name
			ti.where = quote(t.listed[i])
		}
		t.indexes = append(t.indexes, ti)
	}
	t.statements()
	return t, nil
}

func (t *table) statements() {
	s := t.schema
	cols, types := quoted(t.columns), sqlTypes(t.columns)
	for _, l := range t.listed {
		if l != "" {
			cols, types = append(cols, quote(l)), append(types, "boolean")
		}
	}
	cols, types = append(cols, t.doc), append(types, map[string]string{"doc": "jsonb", "block": "bytea"}[t.doc])
	var set []string
	for _, c := range cols[len(s.Key):] {
		set = append(set, c+" = excluded."+c)
	}
	conflict := fmt.Sprintf("on conflict (tenant, %s) do ", names(s.Key))
	t.insert = insertion(t.name, cols, types, conflict+"nothing returning true").one
	t.upsert = insertion(t.name, cols, types, conflict+"update set "+strings.Join(set, ", "))
	t.get = fmt.Sprintf("select %s from %s where tenant = $1%s", t.doc, t.name, equals(s.Key, 2))
	t.del = fmt.Sprintf("delete from %s where tenant = $1%s returning true", t.name, equals(s.Key, 2))
}

// create returns the statements that make the table, without its single-valued indexes.
func (t *table) create() []string {
	var b strings.Builder
	fmt.Fprintf(&b, "create table if not exists %s (\n\ttenant text collate \"C\" not null", t.name)
	for _, c := range t.schema.Key {
		fmt.Fprintf(&b, ",\n\t%s %s not null", quote(c.Name), sqlType(c.Kind))
	}
	kind := "jsonb"
	if t.schema.Bytes {
		kind = "bytea"
	}
	fmt.Fprintf(&b, ",\n\t%s %s not null,\n\tprimary key (tenant, %s)\n)", t.doc, kind, names(t.schema.Key))
	stmts := []string{b.String()}
	if t.schema.Bytes {
		// Blocks are compressed by whoever wrote them.
		stmts = append(stmts, fmt.Sprintf("alter table %s alter column block set storage external", t.name))
	}
	return append(stmts, isolate(t.name)...)
}

// createIndex returns the statements that make index i and its columns. They do not fill them.
func (t *table) createIndex(i int) []string {
	ti := &t.indexes[i]
	if ti.many {
		var b strings.Builder
		fmt.Fprintf(&b, "create table if not exists %s (\n\ttenant text collate \"C\" not null", ti.name)
		for _, c := range ti.order {
			fmt.Fprintf(&b, ",\n\t%s %s not null", quote(c.Name), sqlType(c.Kind))
		}
		fmt.Fprintf(&b, ",\n\tprimary key (tenant, %s)\n)", names(ti.order))
		name := t.schema.Name + "_" + t.schema.Indexes[i].Name
		return append(append([]string{b.String()}, isolate(ti.name)...),
			fmt.Sprintf("create index if not exists %s on %s (tenant, %s)", quote(name+"_row"), ti.name, names(t.schema.Key)))
	}
	var stmts []string
	for _, c := range t.schema.Indexes[i].On {
		if !has(t.schema.Key, c.Name) {
			stmts = append(stmts, fmt.Sprintf("alter table %s add column if not exists %s %s", t.name, quote(c.Name), sqlType(c.Kind)))
		}
	}
	if l := t.listed[i]; l != "" {
		stmts = append(stmts, fmt.Sprintf("alter table %s add column if not exists %s boolean not null default false", t.name, quote(l)))
	}
	where := ""
	if ti.where != "" {
		where = " where " + ti.where
	}
	return append(stmts, fmt.Sprintf("create index if not exists %s on %s (tenant, %s)%s", ti.name, t.name, names(ti.order), where))
}

// isolate forces row-level security on a table.
func isolate(name string) []string {
	return []string{
		"alter table " + name + " enable row level security",
		"alter table " + name + " force row level security",
		"drop policy if exists tenant on " + name,
		"create policy tenant on " + name + " using (tenant = current_setting('hearth.tenant', true)) with check (tenant = current_setting('hearth.tenant', true))",
	}
}

func has(cols store.Columns, name string) bool {
	return slices.ContainsFunc(cols, func(c store.Column) bool { return c.Name == name })
}

// unique drops columns whose name came before: they hold the same value.
func unique(cols store.Columns) store.Columns {
	var out store.Columns
	for _, c := range cols {
		if !has(out, c.Name) {
			out = append(out, c)
		}
	}
	return out
}

func names(cols store.Columns) string { return strings.Join(quoted(cols), ", ") }

func quoted(cols store.Columns) []string {
	q := make([]string, len(cols))
	for i, c := range cols {
		q[i] = quote(c.Name)
	}
	return q
}

// holes is "$from, ...", n of them.
func holes(from, n int) string {
	q := make([]string, n)
	for i := range q {
		q[i] = fmt.Sprintf("$%d", from+i)
	}
	return strings.Join(q, ", ")
}

// equals is " and a = $from and b = ...".
func equals(cols store.Columns, from int) string {
	var b strings.Builder
	for i, c := range cols {
		fmt.Fprintf(&b, " and %s = $%d", quote(c.Name), from+i)
	}
	return b.String()
}
