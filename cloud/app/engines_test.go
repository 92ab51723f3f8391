package app_test

import (
	"path/filepath"
	"testing"

	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/store/postgres"
	"github.com/hearthline/hearthline/cloud/store/postgres/pgtest"
)

func TestBothEnginesTakeEveryTable(t *testing.T) {
	b, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db")}, app.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	service, owner, err := server.Database()
	if err != nil {
		t.Fatal(err)
	}
	p, err := postgres.Open(t.Context(), postgres.Options{URL: service, MigrateURL: owner}, app.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}
