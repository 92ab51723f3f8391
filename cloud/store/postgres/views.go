package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

//go:embed views.sql
var viewsSQL string

// view is one question with its answer in SQL.
type view struct {
	name, question string
	needs          []string
	sql            string
}

func parseViews(text string) ([]view, error) {
	var views []view
	for _, part := range strings.Split(text, "--@ ")[1:] {
		head, sql, _ := strings.Cut(part, "\n")
		f := strings.Split(head, " | ")
		if len(f) != 3 {
			return nil, fmt.Errorf("view %q wants a name, a question and its tables", head)
		}
		views = append(views, view{f[0], f[1], strings.Split(f[2], ", "), strings.TrimSpace(sql)})
	}
	return views, nil
}

// views makes the views whose tables are there. One that has changed is dropped first: nothing but people
// depends on them.
func (m *migration) views(ctx context.Context) error {
	views, err := parseViews(viewsSQL)
	if err != nil {
		return err
	}
	there := map[string]bool{"jobs": true}
	for _, t := range m.db.tables {
		for name := range t.expect() {
			there[name] = true
		}
	}
	// A view without this would look with the rights of its owner, who is held by the policies just the
	// same. Older servers do not know it.
	invoker := ""
	if m.version >= 15_00_00 {
		invoker = " with (security_invoker = true)"
	}
	for _, v := range views {
		complete := true
		for _, n := range v.needs {
			complete = complete && there[n]
		}
		if !complete {
			continue
		}
		name := m.schema + "." + quote(v.name)
		sql := fmt.Sprintf("create view %s%s as\n%s", name, invoker, v.sql)
		key := "view " + v.name
		var have string
		err := m.tx.QueryRow(ctx, "select shape->>'sql' from "+m.schema+".schema_tables where name = $1", key).Scan(&have)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		if have == sql {
			continue
		}
		if err := m.exec(ctx,
			"set local search_path = "+m.schema,
			"drop view if exists "+name,
			sql,
			"comment on view "+name+" is '"+strings.ReplaceAll(v.question, "'", "''")+"'",
			"reset search_path",
		); err != nil {
			return fmt.Errorf("view %s: %w", v.name, err)
		}
		if _, err := m.tx.Exec(ctx, "insert into "+m.schema+".schema_tables (name, shape) values ($1, jsonb_build_object('sql', $2::text)) on conflict (name) do update set shape = excluded.shape", key, sql); err != nil {
			return err
		}
	}
	return nil
}
