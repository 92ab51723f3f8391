package bolt_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/store/storetest"
)

var engine = storetest.Engine{
	New: func(t testing.TB) string { return filepath.Join(t.TempDir(), "store.db") },
	Open: func(place string, tables ...store.Declared) (store.DB, error) {
		return bolt.Open(bolt.Options{Path: place}, tables...)
	},
}

func TestMain(m *testing.M) { os.Exit(storetest.Main(m, engine)) }

func TestConformance(t *testing.T) { storetest.Run(t, engine) }
