package postgres

import (
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hearthline/hearthline/cloud/store"
)

func (t *txn) table(s *store.Schema) (*table, error) {
	if t.ended {
		return nil, errEnded
	}
	tab, ok := t.db.tables[s]
	if !ok {
		return nil, fmt.Errorf("%w: %s", store.ErrUnknownTable, s.Name)
	}
	return tab, nil
}

// rowKey returns tenant and key as arguments.
func (t *txn) rowKey(s *store.Schema, key store.Key) ([]any, error) {
	if len(key) != len(s.Key) {
		return nil, fmt.Errorf("%s: %w: key of %d parts for %d columns", s.Name, store.ErrInvalid, len(key), len(s.Key))
	}
	vals, err := store.Values(s.Key, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	return append([]any{t.tenant}, vals...), nil
}

func (t *txn) Get(s *store.Schema, key store.Key) (doc []byte, err error) {
	tab, err := t.table(s)
	if err != nil {
		return nil, err
	}
	args, err := t.rowKey(s, key)
	if err != nil {
		return nil, err
	}
	found := false
	err = t.ask(tab.get, args, func(rows pgx.Rows) error {
		for rows.Next() {
			found = true
			if err := rows.Scan(&doc); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && !found {
		err = fmt.Errorf("%s: %w", s.Name, store.ErrNotFound)
	}
	return doc, err
}

func (*txn) Room(n int) []byte { return make([]byte, 0, n) }

func (t *txn) Put(s *store.Schema, v any, doc []byte, insert bool) error {
	tab, err := t.table(s)
	if err != nil {
		return err
	}
	if !t.writable {
		return store.ErrReadOnly
	}
	row, err := tab.row(t.tenant, v)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	if doc == nil {
		doc = []byte{} // an empty block, not none
	}
	args, key := append(row.args, doc), row.args[:1+len(s.Key)]
	if insert {
		inserted := false
		err := t.ask(tab.insert, args, func(rows pgx.Rows) error {
			inserted = rows.Next()
			return nil
		})
		if err != nil {
			return err
		}
		if !inserted {
			return fmt.Errorf("%s: %w", s.Name, store.ErrExists)
		}
	}
	t.writes.begin(t.pending, s, key)
	if !insert {
		t.writes.put(&tab.upsert, args)
	}
	for i, keys := range row.many {
		if !tab.indexes[i].many {
			continue
		}
		if !insert {
			t.writes.clear(&tab.indexes[i].clear, key)
		}
		for _, k := range keys {
			t.writes.put(&tab.indexes[i].put, k)
		}
	}
	return nil
}

func (t *txn) Delete(s *store.Schema, key store.Key) error {
	tab, err := t.table(s)
	if err != nil {
		return err
	}
	if !t.writable {
		return store.ErrReadOnly
	}
	args, err := t.rowKey(s, key)
	if err != nil {
		return err
	}
	deleted := false
	err = t.ask(tab.del, args, func(rows pgx.Rows) error {
		deleted = rows.Next()
		return nil
	})
	if err != nil {
		return err
	}
	if !deleted {
		return fmt.Errorf("%s: %w", s.Name, store.ErrNotFound)
	}
	for i := range tab.indexes {
		if tab.indexes[i].many {
			t.writes.clear(&tab.indexes[i].clear, args)
		}
	}
	return nil
}

// row is a document as columns.
type row struct {
	args []any     // tenant, table.columns, then the listed flags
	many [][][]any // by index: the argument lists of its rows, when many
}

// row works out the columns of v. A column that several declarations name must get one value from all.
func (tab *table) row(tenant string, v any) (row, error) {
	s := tab.schema
	r := row{args: make([]any, 1+len(tab.columns), 3+len(tab.columns)+len(tab.listed)), many: make([][][]any, len(s.Indexes))}
	r.args[0] = tenant
	byName := map[string]any{}
	set := func(cols store.Columns, key store.Key) ([]any, error) {
		if len(key) != len(cols) {
			return nil, fmt.Errorf("%w: key of %d parts for %d columns", store.ErrInvalid, len(key), len(cols))
		}
		vals, err := store.Values(cols, key)
		if err != nil {
			return nil, err
		}
		for i, c := range cols {
			if have, ok := byName[c.Name]; ok && !same(have, vals[i]) {
				return nil, fmt.Errorf("%w: column %q is both %v and %v", store.ErrInvalid, c.Name, have, vals[i])
			}
		}
		return vals, nil
	}
	keep := func(cols store.Columns, vals []any) {
		for i, c := range cols {
			byName[c.Name] = vals[i]
		}
	}
	vals, err := set(s.Key, s.KeyOf(v))
	if err != nil {
		return row{}, err
	}
	keep(s.Key, vals)
	var flags []any
	for i := range s.Indexes {
		ix := &s.Indexes[i]
		keys := s.Keys(nil, i, v)
		if tab.listed[i] != "" {
			flags = append(flags, len(keys) > 0)
		}
		for _, key := range keys {
			vals, err := set(ix.On, key)
			if err != nil {
				return row{}, fmt.Errorf("index %s: %w", ix.Name, err)
			}
			if ix.Many == nil {
				keep(ix.On, vals)
				continue
			}
			args := []any{tenant}
			for _, c := range tab.indexes[i].order {
				if j := position(ix.On, c.Name); j >= 0 {
					args = append(args, vals[j])
				} else {
					args = append(args, byName[c.Name])
				}
			}
			r.many[i] = append(r.many[i], args)
		}
	}
	for i, c := range tab.columns {
		r.args[1+i] = byName[c.Name] // nil where no index has it
	}
	r.args = append(r.args, flags...)
	return r, nil
}

func position(cols store.Columns, name string) int {
	for i, c := range cols {
		if c.Name == name {
			return i
		}
	}
	return -1
}

func same(a, b any) bool {
	if t, ok := a.(time.Time); ok {
		u, ok := b.(time.Time)
		return ok && t.Equal(u)
	}
	return a == b
}
