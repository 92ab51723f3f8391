package postgres

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/hearthline/hearthline/cloud/store"
)

// write is a statement that writes one row and answers nothing, and the same for many rows at a time.
type write struct {
	one  string // takes the tenant, then the columns
	many string // takes the tenant, then an array for each of the columns
}

// maxRows bounds the rows of one statement, and so what the server holds in memory for it.
const maxRows = 1000

// writes gathers the rows that a transaction writes, so that many of one table go as one statement: a hub
// that comes back with a day's events, an import. A row is written at most once between two drains, so the
// order of the rows does not matter; only an index's old rows have to go before its new ones come.
type writes struct {
	clears, puts []*group
	rows         map[string]bool // table and key
}

type group struct {
	write *write
	rows  [][]any
}

// begin is called before what is written of a row. When the row is here already, all goes to b first.
func (w *writes) begin(b *pgx.Batch, s *store.Schema, key []any) {
	id := fmt.Sprint(s.Name, key)
	if w.rows[id] {
		w.drain(b)
	}
	if w.rows == nil {
		w.rows = map[string]bool{}
	}
	w.rows[id] = true
}

func (w *writes) clear(s *write, args []any) { add(&w.clears, s, args) }
func (w *writes) put(s *write, args []any)   { add(&w.puts, s, args) }

func add(groups *[]*group, s *write, args []any) {
	for _, g := range *groups {
		if g.write == s && len(g.rows) < maxRows {
			g.rows = append(g.rows, args)
			return
		}
	}
	*groups = append(*groups, &group{s, [][]any{args}})
}

// drain moves the statements to the end of b.
func (w *writes) drain(b *pgx.Batch) {
	for _, groups := range [][]*group{w.clears, w.puts} {
		for _, g := range groups {
			if len(g.rows) == 1 {
				b.Queue(g.write.one, g.rows[0]...)
			} else {
				b.Queue(g.write.many, g.arrays()...)
			}
		}
	}
	*w = writes{}
}

// arrays turns rows into columns.
func (g *group) arrays() []any {
	args := make([]any, len(g.rows[0]))
	args[0] = g.rows[0][0] // the tenant
	for c := 1; c < len(args); c++ {
		column := make([]any, len(g.rows))
		for i, r := range g.rows {
			column[i] = r[c]
		}
		args[c] = column
	}
	return args
}

// insertion is "insert into table (tenant, columns) ... end".
func insertion(table string, columns, types []string, end string) write {
	head := fmt.Sprintf("insert into %s (tenant, %s) ", table, strings.Join(columns, ", "))
	return write{
		one:  fmt.Sprintf("%svalues (%s) %s", head, holes(1, 1+len(columns)), end),
		many: fmt.Sprintf("%sselect $1, * from %s %s", head, unnest(types), end),
	}
}

// deletion is "delete from table" by tenant and key.
func deletion(table string, key store.Columns) write {
	return write{
		one:  fmt.Sprintf("delete from %s where tenant = $1%s", table, equals(key, 2)),
		many: fmt.Sprintf("delete from %s where tenant = $1 and (%s) in (select * from %s)", table, names(key), unnest(sqlTypes(key))),
	}
}

func unnest(types []string) string {
	arrays := make([]string, len(types))
	for i, t := range types {
		arrays[i] = fmt.Sprintf("$%d::%s[]", 2+i, t)
	}
	return "unnest(" + strings.Join(arrays, ", ") + ")"
}

func sqlTypes(cols store.Columns) []string {
	types := make([]string, len(cols))
	for i, c := range cols {
		types[i] = [...]string{"text", "bigint", "timestamptz"}[c.Kind]
	}
	return types
}
