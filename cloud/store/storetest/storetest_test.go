package storetest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

// torn breaks the isolation of a good engine: an update reads in one transaction and writes in another.
type torn struct{ store.DB }

type tornTx struct {
	store.Tx
	rows *tornRows
}

func (t tornTx) Rows() store.Rows { return t.rows }

type tornRows struct {
	store.Rows
	writes []func(store.Rows) error
}

func (r *tornRows) Put(s *store.Schema, v any, doc []byte, insert bool) error {
	r.writes = append(r.writes, func(to store.Rows) error { return to.Put(s, v, doc, insert) })
	return nil
}

func (d torn) Update(ctx context.Context, tenant string, fn func(store.Tx) error) error {
	var writes []func(store.Rows) error
	err := d.DB.View(ctx, tenant, func(tx store.Tx) error {
		rows := &tornRows{Rows: tx.Rows()}
		err := fn(tornTx{tx, rows})
		writes = rows.writes
		return err
	})
	if err != nil {
		return err
	}
	return d.DB.Update(ctx, tenant, func(tx store.Tx) error {
		for _, w := range writes {
			if err := w(tx.Rows()); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestTheHistoryCheckSeesAStoreThatIsNotSerialisable(t *testing.T) {
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db")}, Things)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for round := range 20 {
		ops, _ := record(t, torn{db}, newTenant(), uint64(round))
		if porcupine.CheckOperationsTimeout(serial, ops, time.Minute) == porcupine.Illegal {
			return
		}
	}
	t.Error("lost updates went unseen in 20 histories: the check is blind")
}
