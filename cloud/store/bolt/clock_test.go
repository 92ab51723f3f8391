package bolt_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

func TestAClockThatJumpsLosesAndDoublesNoJob(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	path := filepath.Join(t.TempDir(), "store.db")
	opts := bolt.Options{Path: path, Clock: func() time.Time { return now }}
	db, err := bolt.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { db.Close() }()
	ctx := context.Background()
	claim := func(want int) []store.Job {
		t.Helper()
		jobs, err := db.Claim(ctx, "q", "me", 9, time.Minute)
		if err != nil || len(jobs) != want {
			t.Fatalf("claimed %d jobs, %v, want %d", len(jobs), err, want)
		}
		return jobs
	}
	if err := db.Update(ctx, "acme", func(tx store.Tx) error { return store.Enqueue(tx, store.Job{Queue: "q", ID: "x"}) }); err != nil {
		t.Fatal(err)
	}
	first := claim(1)[0]

	now = now.AddDate(10, 0, 0) // forward: the lease is over, and its owner is told
	second := claim(1)[0]
	if err := db.Done(ctx, first); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("done under the first lease: %v", err)
	}
	now = now.AddDate(-20, 0, 0) // back: the lease holds for very long, but its owner can still settle it
	claim(0)
	if err := db.Retry(ctx, second, time.Second, "later"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	claim(1)

	now = now.AddDate(-5, 0, 0) // back again, and the process dies: the lease goes with it
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = bolt.Open(opts); err != nil {
		t.Fatal(err)
	}
	j := claim(1)[0]
	if err := db.Done(ctx, j); err != nil {
		t.Error(err)
	}
}
