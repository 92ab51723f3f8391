package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hearthline/hearthline/cloud/store"
)

func TestErrorsOfTheDatabaseGetTheContractsMeaning(t *testing.T) {
	code := func(c string) error { return fmt.Errorf("commit: %w", &pgconn.PgError{Code: c}) }
	for name, c := range map[string]struct {
		err, want error
		retry     bool
	}{
		"serialisation failure":      {code("40001"), nil, true},
		"deadlock":                   {code("40P01"), nil, true},
		"disk full":                  {code("53100"), store.ErrFull, false},
		"too many connections":       {code("53300"), store.ErrUnavailable, false},
		"shutdown":                   {code("57P01"), store.ErrUnavailable, false},
		"starting up":                {code("57P03"), store.ErrUnavailable, false},
		"became a read-only standby": {code("25006"), store.ErrUnavailable, false},
		"connection cut":             {io.ErrUnexpectedEOF, store.ErrUnavailable, false},
		"text jsonb cannot hold":     {code("22P05"), store.ErrInvalid, false},
		"the caller gave up":         {context.Canceled, context.Canceled, false},
	} {
		got := mapError(c.err)
		var again conflict
		if errors.As(got, &again) != c.retry || c.want != nil && !errors.Is(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if mapError(nil) != nil {
		t.Error("nil is an error")
	}
}
