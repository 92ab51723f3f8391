package bolt_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

type note struct {
	Home string `json:"home"`
	ID   int64  `json:"id"`
	Text string `json:"text"`
}

var notes = store.NewTable("notes", store.Spec[note]{
	Key:   store.Columns{store.Text("home"), store.Int("id")},
	KeyOf: func(n *note) store.Key { return store.Key{n.Home, n.ID} },
	Indexes: []store.Index[note]{{
		Name: "by_text",
		On:   store.Columns{store.Text("text")},
		Of:   func(n *note) store.Key { return store.Key{n.Text} },
	}},
})

var blobs = store.NewBlocks("blobs", store.BlockSpec{Key: store.Columns{store.Int("n")}})

func open(t testing.TB, path string) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: path}, notes, blobs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func TestConcurrentUpdatesCommitTogetherAndAFailingOneStaysAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	db := open(t, path)
	ctx := context.Background()
	odd := errors.New("odd")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			err := db.Update(ctx, "acme", func(tx store.Tx) error {
				if err := notes.Insert(tx, &note{"h", int64(i), fmt.Sprint("n", i)}); err != nil {
					return err
				}
				if i%10 == 1 {
					return odd
				}
				return nil
			})
			if want := i%10 == 1; errors.Is(err, odd) != want || err != nil && !want {
				t.Errorf("update %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	err := db.View(ctx, "acme", func(tx store.Tx) error {
		n := 0
		for v, err := range notes.Scan(tx, store.Range{Prefix: store.Key{"h"}}) {
			if err != nil {
				return err
			}
			if v.ID%10 == 1 {
				t.Errorf("the write of failed update %d is there", v.ID)
			}
			n++
		}
		if n != 180 {
			t.Errorf("%d rows, want 180", n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAPanicReachesItsCallerAndNobodyElse(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "store.db"))
	ctx := context.Background()
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v, want boom", p)
			}
		}()
		_ = db.Update(ctx, "acme", func(tx store.Tx) error {
			if err := notes.Put(tx, &note{Home: "h"}); err != nil {
				return err
			}
			panic("boom")
		})
	}()
	err := db.Update(ctx, "acme", func(tx store.Tx) error {
		if ok, err := notes.Has(tx, "h", 0); ok || err != nil {
			return fmt.Errorf("row of the panicking update: %t, %w", ok, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkUpdate64Goroutines(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "store.db"))
	ctx := context.Background()
	b.ReportAllocs()
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := g; i < b.N; i += 64 {
				err := db.Update(ctx, "acme", func(tx store.Tx) error {
					return notes.Put(tx, &note{"home", int64(i), "some text"})
				})
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkBatchOf500(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "store.db"))
	ctx := context.Background()
	b.ReportAllocs()
	for i := 0; i < b.N; i += 500 {
		err := db.Update(ctx, "acme", func(tx store.Tx) error {
			for j := range 500 {
				if err := notes.Put(tx, &note{"home", int64(i + j), "some text"}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkViewAndGet(b *testing.B) {
	db := open(b, filepath.Join(b.TempDir(), "store.db"))
	ctx := context.Background()
	if err := db.Update(ctx, "acme", func(tx store.Tx) error { return notes.Put(tx, &note{"home", 7, "some text"}) }); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		err := db.View(ctx, "acme", func(tx store.Tx) error {
			_, err := notes.Get(tx, "home", 7)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func TestACleanCloseLeavesTheFreelistForTheNextOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	written := func() bool {
		t.Helper()
		file, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true})
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		pages := 0
		err = file.View(func(tx *bbolt.Tx) error {
			for i := 0; ; i++ {
				p, err := tx.Page(i)
				if p == nil || err != nil {
					return err
				}
				if p.Type == "freelist" {
					pages++
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return pages > 0
	}
	for range 3 {
		db := open(t, path)
		put(t, db, 0, 500)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if !written() {
			t.Error("no freelist in the file after Close")
		}
		db = open(t, path)
		if n := count(t, db); n != 500 {
			t.Errorf("%d notes, want 500", n)
		}
		if err := db.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
