package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/hearthline/hearthline/cloud/store"
)

// testTenants tries every way to a row of another tenant.
func testTenants(t *testing.T, e Engine) {
	db := open(t, e)
	// Names that are prefixes of each other, and of the separator's neighbours.
	mine, theirs := newTenant(), ""
	theirs = mine + "-x"
	thing := Thing{Home: "h", N: 2, State: "open", Due: noon, Owner: "o", Tags: []string{"x"}}
	update(t, db, theirs, func(tx store.Tx) error {
		return errors.Join(
			Things.Put(tx, &thing),
			Samples.Put(tx, []byte("secret"), "d", noon, noon),
			store.Enqueue(tx, store.Job{Queue: theirs, ID: "j"}))
	})
	var cursor store.Cursor
	update(t, db, mine, func(tx store.Tx) error {
		for i := range int64(3) {
			if err := Things.Put(tx, &Thing{Home: "mine", N: i, Due: noon}); err != nil {
				return err
			}
		}
		return nil
	})
	view(t, db, theirs, func(tx store.Tx) error {
		if got := tx.Tenant(); got != theirs {
			t.Errorf("tenant %q", got)
		}
		return nil
	})
	none := func(what string, ns []int64, err error) {
		t.Helper()
		if err != nil || len(ns) != 0 {
			t.Errorf("%s: %v, %v", what, ns, err)
		}
	}
	update(t, db, mine, func(tx store.Tx) error {
		if _, err := Things.Get(tx, "h", 2); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("get: %v", err)
		}
		if ok, err := Things.Has(tx, "h", 2); ok || err != nil {
			t.Errorf("has: %t, %v", ok, err)
		}
		if err := Things.Delete(tx, "h", 2); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("delete: %v", err)
		}
		if _, err := Samples.Get(tx, "d", noon, noon); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("get block: %v", err)
		}
		if err := Samples.Delete(tx, "d", noon, noon); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("delete block: %v", err)
		}
		for _, r := range []store.Range{{}, {Index: "by_age"}, {Reverse: true}} {
			for b, err := range Samples.Scan(tx, r) {
				t.Errorf("scan of blocks: %v, %v", b, err)
			}
		}
		for _, prefix := range []store.Key{nil, {"h"}} {
			ns, err := numbers(tx, store.Range{Prefix: prefix, From: "h", To: "i"})
			if prefix != nil {
				ns, err = numbers(tx, store.Range{Prefix: prefix})
			}
			none("scan", ns, err)
		}
		for index, prefix := range map[string]store.Key{"by_due": {"open"}, "by_owner": {"o"}, "by_tag": {"x"}, "even": {2, "h"}} {
			ns, err := numbers(tx, store.Range{Index: index, Prefix: prefix})
			none("scan "+index, ns, err)
			ns, err = numbers(tx, store.Range{Index: index, Prefix: prefix, Reverse: true})
			none("reverse scan "+index, ns, err)
		}
		if err := store.Cancel(tx, theirs, "j"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("cancel: %v", err)
		}
		return nil
	})
	// A cursor of theirs is only a place among mine.
	view(t, db, theirs, func(tx store.Tx) error {
		for range 1 {
			_, next, err := Things.Page(tx, store.Range{Limit: 1})
			if err != nil {
				return err
			}
			cursor = next
		}
		return nil
	})
	if cursor != "" {
		t.Errorf("one row has a second page")
	}
	update(t, db, theirs, func(tx store.Tx) error { return Things.Put(tx, &Thing{Home: "i", N: 3, Due: noon}) })
	view(t, db, theirs, func(tx store.Tx) (err error) {
		_, cursor, err = Things.Page(tx, store.Range{Limit: 1})
		return err
	})
	wantNumbers(t, db, mine, store.Range{After: cursor}, 0, 1, 2)
	wantNumbers(t, db, mine, store.Range{After: cursor, Reverse: true})

	// The same key in both tenants is two rows.
	update(t, db, mine, func(tx store.Tx) error {
		return errors.Join(
			Things.Insert(tx, &Thing{Home: "h", N: 2, Due: noon, Owner: "me"}),
			Samples.Insert(tx, []byte("mine"), "d", noon, noon))
	})
	update(t, db, mine, func(tx store.Tx) error { return Things.Delete(tx, "h", 2) })
	view(t, db, theirs, func(tx store.Tx) error {
		v, err := Things.Get(tx, "h", 2)
		if err == nil && v.Owner != "o" {
			t.Errorf("their row has become %+v", v)
		}
		b, berr := Samples.Get(tx, "d", noon, noon)
		if string(b) != "secret" {
			t.Errorf("their block has become %q", b)
		}
		return errors.Join(err, berr)
	})
	if jobs, err := db.Waiting(context.Background(), theirs, 9); err != nil || len(jobs) != 1 {
		t.Errorf("their job: %v, %v", jobs, err)
	}
}
