package postgres

import (
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hearthline/hearthline/cloud/store"
)

// Pages of a scan begin small, since most scans stop early, and grow.
const (
	firstChunk = 64
	lastChunk  = 1024
)

func (t *txn) Scan(s *store.Schema, r store.Range, yield func(pos, doc []byte) bool) error {
	tab, err := t.table(s)
	if err != nil {
		return err
	}
	ix, err := s.Index(r.Index)
	if err != nil {
		return err
	}
	q, err := tab.scan(t.tenant, ix, r)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	type item struct{ pos, doc []byte }
	n := 0
	for chunk := firstChunk; ; chunk = min(2*chunk, lastChunk) {
		if r.Limit > 0 {
			chunk = min(lastChunk, r.Limit-n)
		}
		var items []item
		sql, args := q.build(chunk)
		err := t.ask(sql, args, func(rows pgx.Rows) error {
			for rows.Next() {
				pos, doc, err := q.read(rows)
				if err != nil {
					return err
				}
				items = append(items, item{pos, doc})
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, it := range items {
			if n++; !yield(it.pos, it.doc) || n == r.Limit {
				return nil
			}
		}
		if len(items) < chunk {
			return nil
		}
		if err := q.continueAfter(items[len(items)-1].pos); err != nil {
			return err
		}
	}
}

// scan is a range as SQL.
type scan struct {
	tab     *table
	index   int
	columns store.Columns // that order the range, each once
	full    store.Columns // the same with repetitions, as cursors have them
	prefix  int
	where   strings.Builder
	args    []any
	after   []any // values of columns[prefix:]
	reverse bool
}

func (tab *table) scan(tenant string, ix int, r store.Range) (*scan, error) {
	q := &scan{tab: tab, index: ix, full: tab.schema.Order(ix), reverse: r.Reverse, args: []any{tenant}}
	q.columns = unique(q.full)
	q.where.WriteString("s.tenant = $1")
	if ix >= 0 && tab.indexes[ix].where != "" {
		q.where.WriteString(" and s." + tab.indexes[ix].where)
	}
	prefix, err := store.Values(q.full, r.Prefix)
	if err != nil {
		return nil, err
	}
	fixed := map[string]any{}
	for i, v := range prefix {
		name := q.full[i].Name
		if have, ok := fixed[name]; ok {
			if !same(have, v) {
				q.where.WriteString(" and false") // a column cannot have two values
			}
			continue
		}
		fixed[name] = v
		q.prefix++
		q.and(name, "=", v)
	}
	for _, b := range []struct {
		part any
		op   string
	}{{r.From, ">="}, {r.To, "<"}} {
		if b.part == nil {
			continue
		}
		if len(prefix) == len(q.full) {
			return nil, fmt.Errorf("%w: bound behind the last column", store.ErrInvalid)
		}
		v, err := store.Values(q.full[len(prefix):], store.Key{b.part})
		if err != nil {
			return nil, err
		}
		q.and(q.full[len(prefix)].Name, b.op, v[0])
	}
	pos, err := r.After.Pos(q.full)
	if err != nil {
		return nil, err
	}
	if pos != nil {
		key, _, err := store.CutKey(pos, q.full)
		if err != nil {
			return nil, err
		}
		q.afterAll(key)
	}
	return q, nil
}

func (q *scan) and(column, op string, v any) {
	q.args = append(q.args, v)
	fmt.Fprintf(&q.where, " and s.%s %s $%d", quote(column), op, len(q.args))
}

// afterAll begins behind a whole position that may lie outside of the range: a cursor from elsewhere.
func (q *scan) afterAll(key store.Key) {
	q.compare(0, q.once(key))
}

// once drops the values of repeated columns.
func (q *scan) once(key store.Key) []any {
	vals := make([]any, 0, len(q.columns))
	for i, c := range q.full {
		if position(q.full, c.Name) == i {
			vals = append(vals, key[i])
		}
	}
	return vals
}

// compare adds (columns[from:]) > (vals), or < in reverse.
func (q *scan) compare(from int, vals []any) {
	op := ">"
	if q.reverse {
		op = "<"
	}
	var cols []string
	for _, c := range q.columns[from:] {
		cols = append(cols, "s."+quote(c.Name))
	}
	fmt.Fprintf(&q.where, " and (%s) %s (%s)", strings.Join(cols, ", "), op, holes(len(q.args)+1, len(cols)))
	q.args = append(q.args, vals...)
}

// continueAfter makes the next build begin behind pos, which lies within the range.
func (q *scan) continueAfter(pos []byte) error {
	key, _, err := store.CutKey(pos, q.full)
	if err != nil {
		return err
	}
	q.after = q.once(key)[q.prefix:]
	return nil
}

func (q *scan) build(limit int) (sql string, args []any) {
	base, n := q.where.String(), len(q.args)
	if q.after != nil && q.prefix < len(q.columns) {
		q.compare(q.prefix, q.after)
	}
	where, args := q.where.String(), append([]any{}, q.args...)
	q.where.Reset()
	q.where.WriteString(base)
	q.args = q.args[:n]

	dir := ""
	if q.reverse {
		dir = " desc"
	}
	var cols, order []string
	for i, c := range q.columns {
		cols = append(cols, "s."+quote(c.Name))
		if i >= q.prefix {
			order = append(order, "s."+quote(c.Name)+dir)
		}
	}
	from := q.tab.name + " s"
	doc := "s." + q.tab.doc
	if q.index >= 0 && q.tab.indexes[q.index].many {
		on := "d.tenant = s.tenant"
		for _, c := range q.tab.schema.Key {
			on += fmt.Sprintf(" and d.%s = s.%s", quote(c.Name), quote(c.Name))
		}
		from = fmt.Sprintf("%s s join %s d on %s", q.tab.indexes[q.index].name, q.tab.name, on)
		doc = "d." + q.tab.doc
	}
	sql = fmt.Sprintf("select %s, %s from %s where %s", strings.Join(cols, ", "), doc, from, where)
	if len(order) > 0 {
		sql += " order by " + strings.Join(order, ", ")
	}
	args = append(args, limit)
	return fmt.Sprintf("%s limit $%d", sql, len(args)), args
}

// read takes one row of the query apart.
func (q *scan) read(rows pgx.Rows) (pos, doc []byte, err error) {
	into := make([]any, len(q.columns)+1)
	for i, c := range q.columns {
		switch c.Kind {
		case store.KindText:
			into[i] = new(string)
		case store.KindInt:
			into[i] = new(int64)
		default:
			into[i] = new(time.Time)
		}
	}
	into[len(q.columns)] = &doc
	if err := rows.Scan(into...); err != nil {
		return nil, nil, err
	}
	key := make(store.Key, len(q.full))
	for i, c := range q.full {
		switch p := into[position(q.columns, c.Name)].(type) {
		case *string:
			key[i] = *p
		case *int64:
			key[i] = *p
		case *time.Time:
			key[i] = *p
		}
	}
	pos, err = store.AppendKey(nil, q.full, key)
	return pos, doc, err
}
