package postgres_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/postgres"
	"github.com/hearthline/hearthline/cloud/store/postgres/pgtest"
	"github.com/hearthline/hearthline/cloud/store/storetest"
)

// server is shared by the tests; each has a database of its own in it.
var server *pgtest.Server

var engine = storetest.Engine{
	New: func(t testing.TB) string {
		service, owner := database(t)
		return service + " " + owner
	},
	Open: func(place string, tables ...store.Declared) (store.DB, error) {
		service, owner, _ := strings.Cut(place, " ")
		return postgres.Open(context.Background(), postgres.Options{URL: service, MigrateURL: owner}, tables...)
	},
}

func database(t testing.TB) (service, owner string) {
	t.Helper()
	service, owner, err := server.Database()
	if err != nil {
		t.Fatal(err)
	}
	return service, owner
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if storetest.IsChild() {
		return storetest.Main(m, engine)
	}
	s, err := pgtest.New()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s.Close()
	server = s
	return storetest.Main(m, engine, goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait")) // for the server's end
}

func TestConformance(t *testing.T) { storetest.Run(t, engine) }
