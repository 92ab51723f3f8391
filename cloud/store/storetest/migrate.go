package storetest

import (
	"errors"
	"slices"
	"testing"

	"github.com/hearthline/hearthline/cloud/store"
)

// generation declares the table "notes" as successive releases would.
func generation(key store.Columns, indexes ...store.Index[Thing]) *store.Table[Thing] {
	return store.NewTable("notes", store.Spec[Thing]{
		Key: key,
		KeyOf: func(v *Thing) store.Key {
			return store.Key{v.Home, v.N}[:len(key)]
		},
		Indexes: indexes,
	})
}

func testMigrations(t *testing.T, e Engine) {
	key := store.Columns{store.Text("home"), store.Int("n")}
	byOwner := store.Index[Thing]{
		Name: "by_owner", On: store.Columns{store.Text("owner")},
		Of: func(v *Thing) store.Key {
			if v.Owner == "" {
				return nil
			}
			return store.Key{v.Owner}
		},
	}
	byTag := store.Index[Thing]{
		Name: "by_tag", On: store.Columns{store.Text("tag"), store.Int("n")},
		Each: func(v *Thing) []store.Key {
			var keys []store.Key
			for _, tag := range v.Tags {
				keys = append(keys, store.Key{tag, v.N})
			}
			return keys
		},
	}
	first, second := generation(key), generation(key, byOwner, byTag)
	place := e.New(t)
	const rows = 7000 // of each tenant: together more than an engine indexes in one go
	names := []string{newTenant(), newTenant()}
	db := openAt(t, e, place, first)
	for _, tenant := range names {
		update(t, db, tenant, func(tx store.Tx) error {
			for i := range rows {
				v := Thing{Home: tenant, N: int64(i), Due: noon}
				if i%100 == 7 {
					v.Owner, v.Tags = "o", []string{"x", "y", "x"}
				}
				if err := first.Put(tx, &v); err != nil {
					return err
				}
			}
			return nil
		})
	}
	reopen := func(tables ...store.Declared) error {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		next, err := e.Open(place, tables...)
		if err == nil {
			db = next
			t.Cleanup(func() { next.Close() })
		}
		return err
	}
	check := func() {
		t.Helper()
		for _, tenant := range names {
			for _, r := range []store.Range{
				{Index: "by_owner", Prefix: store.Key{"o"}},
				{Index: "by_owner"},
				{Index: "by_tag", Prefix: store.Key{"x"}},
				{Index: "by_tag", Prefix: store.Key{"y"}},
			} {
				var got []int64
				view(t, db, tenant, func(tx store.Tx) error {
					got = nil
					for v, err := range second.Scan(tx, r) {
						if err != nil {
							return err
						}
						if v.Home != tenant {
							t.Errorf("a row of %s in %s", v.Home, tenant)
						}
						got = append(got, v.N)
					}
					return nil
				})
				if len(got) != rows/100 || got[0] != 7 || !slices.IsSorted(got) {
					t.Errorf("%s: %s after the migration: %d rows", tenant, describe(r), len(got))
				}
			}
		}
	}
	t.Run("a new index is filled", func(t *testing.T) {
		if err := reopen(second, Samples); err != nil {
			t.Fatal(err)
		}
		check()
	})
	t.Run("opening again changes nothing", func(t *testing.T) {
		if err := reopen(second, Samples); err != nil {
			t.Fatal(err)
		}
		check()
	})
	t.Run("one that breaks off halfway is made good by the next open", func(t *testing.T) {
		breaks := true
		byPlace := store.Index[Thing]{
			Name: "by_place", On: store.Columns{store.Text("place")},
			Of: func(v *Thing) store.Key {
				if breaks && v.Home == slices.Max(names) && v.N == rows-1 {
					return store.Key{"no key has a \x00"}
				}
				return store.Key{"here"}
			},
		}
		if err := reopen(generation(key, byOwner, byTag, byPlace)); !errors.Is(err, store.ErrInvalid) {
			t.Fatalf("open: %v", err)
		}
		breaks = false
		table := generation(key, byOwner, byTag, byPlace)
		if err := reopen(table); err != nil {
			t.Fatal(err)
		}
		for _, tenant := range names {
			view(t, db, tenant, func(tx store.Tx) error {
				n := 0
				for _, err := range table.Scan(tx, store.Range{Index: "by_place", Prefix: store.Key{"here"}}) {
					if err != nil {
						return err
					}
					n++
				}
				if n != rows {
					t.Errorf("%s: %d rows by place, want %d", tenant, n, rows)
				}
				return nil
			})
		}
	})
	t.Run("a new index name over old columns is another index", func(t *testing.T) {
		renamed := byOwner
		renamed.Name = "by_holder"
		third := generation(key, byOwner, byTag, renamed)
		if err := reopen(third); err != nil {
			t.Fatal(err)
		}
		view(t, db, names[0], func(tx store.Tx) error {
			n := 0
			for _, err := range third.Scan(tx, store.Range{Index: "by_holder"}) {
				if err != nil {
					return err
				}
				n++
			}
			if n != rows/100 {
				t.Errorf("%d rows by holder, want %d", n, rows/100)
			}
			return nil
		})
	})
	t.Run("a changed key is refused", func(t *testing.T) {
		if err := reopen(generation(store.Columns{store.Text("home")})); !errors.Is(err, store.ErrSchema) {
			t.Errorf("open: %v", err)
		}
		if err := reopen(generation(store.Columns{store.Text("home"), store.Time("n")})); !errors.Is(err, store.ErrSchema) {
			t.Errorf("open: %v", err)
		}
	})
	t.Run("declarations that clash are refused", func(t *testing.T) {
		for name, tables := range map[string][]store.Declared{
			"twice": {first, second},
			"a column of two kinds": {generation(key, store.Index[Thing]{
				Name: "i", On: store.Columns{store.Text("n")}, Of: func(v *Thing) store.Key { return store.Key{v.Home} },
			})},
			"an index without a function": {generation(key, store.Index[Thing]{Name: "i", On: key})},
			"a name that is SQL":          {generation(store.Columns{store.Text("home; drop table x")})},
		} {
			if err := reopen(tables...); !errors.Is(err, store.ErrSchema) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}
