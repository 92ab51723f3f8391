package postgres

import (
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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
	n := 0
	for chunk := firstChunk; ; chunk = min(2*chunk, lastChunk) {
		if r.Limit > 0 {
			chunk = min(lastChunk, r.Limit-n)
		}
		var items []item
		sql, args := q.build(chunk)
		err := t.ask(sql, args, func(rows pgx.Rows) (err error) {
			items, err = q.read(rows)
			return err
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
	fixed   []any         // the values of the first of columns, which all rows of the range have
	where   strings.Builder
	args    []any
	after   []any // values of columns[prefix:]
	reverse bool
	keys    bool // no documents are asked for
}

func (tab *table) scan(tenant string, ix int, r store.Range) (*scan, error) {
	q := &scan{tab: tab, index: ix, full: tab.schema.Order(ix), reverse: r.Reverse, keys: r.KeysOnly(), args: []any{tenant}}
	q.columns = unique(q.full)
	q.where.WriteString("s.tenant = $1")
	if ix >= 0 && tab.indexes[ix].where != "" {
		q.where.WriteString(" and s." + tab.indexes[ix].where)
	}
	prefix, err := store.Values(q.full, r.Prefix)
	if err != nil {
		return nil, err
	}
	for i, v := range prefix {
		name := q.full[i].Name
		if j := position(q.columns, name); j < len(q.fixed) {
			if !same(q.fixed[j], v) {
				q.where.WriteString(" and false") // a column cannot have two values
			}
			continue
		}
		q.fixed = append(q.fixed, v)
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
	q.after = q.once(key)[len(q.fixed):]
	return nil
}

func (q *scan) build(limit int) (sql string, args []any) {
	base, n := q.where.String(), len(q.args)
	if q.after != nil && len(q.fixed) < len(q.columns) {
		q.compare(len(q.fixed), q.after)
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
	for _, c := range q.columns[len(q.fixed):] {
		cols = append(cols, "s."+quote(c.Name))
		order = append(order, "s."+quote(c.Name)+dir)
	}
	from := q.tab.name + " s"
	doc := "s." + q.tab.doc
	many := q.index >= 0 && q.tab.indexes[q.index].many
	if many {
		from = q.tab.indexes[q.index].name + " s"
	}
	switch {
	case q.keys:
		doc = "null"
	case many:
		on := "d.tenant = s.tenant"
		for _, c := range q.tab.schema.Key {
			on += fmt.Sprintf(" and d.%s = s.%s", quote(c.Name), quote(c.Name))
		}
		from += fmt.Sprintf(" join %s d on %s", q.tab.name, on)
		doc = "d." + q.tab.doc
	}
	sql = fmt.Sprintf("select %s from %s where %s", strings.Join(append(cols, doc), ", "), from, where)
	if len(order) > 0 {
		sql += " order by " + strings.Join(order, ", ")
	}
	args = append(args, limit)
	return fmt.Sprintf("%s limit $%d", sql, len(args)), args
}

// item is one row of a scan.
type item struct{ pos, doc []byte }

// read takes the rows of the query apart. People wait for scans, so a row is one piece of memory, and only
// what it has of its own is read.
func (q *scan) read(rows pgx.Rows) (items []item, err error) {
	var doc pgtype.DriverBytes // pgx's until the next row
	own := make([]struct {
		text string
		n    int64
		at   time.Time
	}, len(q.columns)-len(q.fixed))
	var into []any
	for i, c := range q.columns[len(q.fixed):] {
		into = append(into, [...]any{&own[i].text, &own[i].n, &own[i].at}[c.Kind])
	}
	into = append(into, &doc)
	key := make(store.Key, len(q.full))
	size := 64
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		for i, c := range q.full {
			switch j := position(q.columns, c.Name); {
			case j < len(q.fixed):
				key[i] = q.fixed[j]
			case c.Kind == store.KindText:
				key[i] = own[j-len(q.fixed)].text
			case c.Kind == store.KindInt:
				key[i] = own[j-len(q.fixed)].n
			default:
				key[i] = own[j-len(q.fixed)].at
			}
		}
		b, err := store.AppendKey(make([]byte, 0, size+len(doc)), q.full, key)
		if err != nil {
			return nil, err
		}
		size = len(b) // the next one's is about the same
		b = append(b, doc...)
		items = append(items, item{b[:size:size], b[size:]})
	}
	return items, rows.Err()
}
