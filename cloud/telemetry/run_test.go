package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// minute is the block with this sequence, which covers that minute of the afternoon.
func minute(sequence uint64, size int) cloud.Block {
	from := noon.Add(time.Duration(sequence) * time.Minute)
	return cloud.Block{
		Home: "home1", Device: "hub1", From: from, To: from.Add(59 * time.Second), Epoch: 7, Sequence: sequence,
		Bytes: bytes.Repeat([]byte{byte(sequence)}, size),
	}
}

func openRuns(t *testing.T) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db"), MapBytes: 64 << 20}, Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// kept returns the blocks in order, and how many rows hold them.
func kept(t *testing.T, db *bolt.DB) (bs []cloud.Block, rows int) {
	t.Helper()
	err := db.View(context.Background(), "acme", func(tx store.Tx) error {
		for b, err := range inOrder(tx, "home1", "hub1", nil, nil) {
			if err != nil {
				return err
			}
			b.Bytes = bytes.Clone(b.Bytes)
			bs = append(bs, b)
		}
		for _, err := range runs.Scan(tx, store.Range{}) {
			if rows++; err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bs, rows
}

func same(a, b cloud.Block) bool {
	return a.From.Equal(b.From) && a.To.Equal(b.To) && a.Epoch == b.Epoch && a.Sequence == b.Sequence && a.Device == b.Device && bytes.Equal(a.Bytes, b.Bytes)
}

func TestBlocksOfACommitShareRowsAndComeBackAsTheyCameInOrderOfTime(t *testing.T) {
	db := openRuns(t)
	var want []cloud.Block
	commit := func(bs ...cloud.Block) {
		t.Helper()
		want = append(want, bs...)
		if err := db.Update(context.Background(), "acme", func(tx store.Tx) error { return Keeper{}.PutBlocks(tx, bs) }); err != nil {
			t.Fatal(err)
		}
	}
	// A device was away for a quarter of an hour; every fourth block comes later, the order is lost on the way.
	var first, late []cloud.Block
	for i := range uint64(16) {
		if b := minute(i, 300); i%4 == 2 {
			late = append(late, b)
		} else {
			first = append(first, b)
		}
	}
	slices.Reverse(first)
	commit(first...)
	commit(late...)
	commit(minute(40, maxRun+1), minute(41, maxRun/2), minute(42, maxRun/2)) // none of which share a run
	restarted := minute(43, 10)
	restarted.Epoch, restarted.Sequence = 8, 1
	commit(restarted, minute(44, 10))
	long := minute(60, 10)
	long.To = long.From.Add(1000 * time.Hour) // nonsense, but a device may say so
	commit(long, minute(61, 10))
	again := minute(70, 10)
	again.Sequence = 71 // corrected to the same moment
	commit(minute(70, 10), again)

	slices.SortStableFunc(want, func(a, b cloud.Block) int { return a.From.Compare(b.From) })
	got, rows := kept(t, db)
	if !slices.EqualFunc(got, want, same) {
		for i := range got {
			t.Logf("%s %d/%d %d bytes", got[i].From.Format(time.TimeOnly), got[i].Epoch, got[i].Sequence, len(got[i].Bytes))
		}
		t.Fatalf("%d blocks came back of %d, or others, or in another order", len(got), len(want))
	}
	if rows != 11 {
		t.Errorf("%d blocks stand in %d rows, want 11", len(want), rows)
	}
	var places []string
	err := db.View(context.Background(), "acme", func(tx store.Tx) error {
		return Keeper{}.Places(tx, "home1", "hub1", func(epoch, sequence uint64) { places = append(places, fmt.Sprint(epoch, "/", sequence)) })
	})
	if slices.Sort(places); err != nil || len(slices.Compact(places)) != len(want) {
		t.Errorf("places %v, %v", places, err)
	}
}

func TestARunIsFoundByThePartOfItThatIsAskedFor(t *testing.T) {
	db := openRuns(t)
	var bs []cloud.Block
	for i := range uint64(15) {
		bs = append(bs, minute(i, 10))
	}
	if err := db.Update(context.Background(), "acme", func(tx store.Tx) error { return Keeper{}.PutBlocks(tx, bs) }); err != nil {
		t.Fatal(err)
	}
	if _, rows := kept(t, db); rows != 1 {
		t.Fatalf("%d rows, want all in one", rows)
	}
	var unread int
	err := db.View(context.Background(), "acme", func(tx store.Tx) (err error) {
		// These blocks cannot be decoded, so that scan counts those it has opened.
		unread, err = scan(tx, "home1", "hub1", noon.Add(10*time.Minute), noon.Add(12*time.Minute), nil)
		return err
	})
	if err != nil || unread != 2 {
		t.Errorf("two minutes opened %d blocks, %v", unread, err)
	}
}

// FuzzRun holds that a row of any bytes is refused or comes back as the same blocks once written anew.
func FuzzRun(f *testing.F) {
	one, two := minute(1, 3), minute(2, 0)
	f.Add(appendBlock(nil, &one, &one))
	f.Add(appendBlock(appendBlock(nil, &one, &one), &one, &two))
	key := store.Key{"home1", "hub1", noon, noon, int64(7), int64(1)}
	f.Fuzz(func(t *testing.T, in []byte) {
		bs, err := appendRun(nil, store.Block{Key: key, Bytes: in})
		if err != nil {
			return
		}
		var out []byte
		first := cloud.Block{From: noon, Sequence: 1}
		for i := range bs {
			out = appendBlock(out, &first, &bs[i])
		}
		again, err := appendRun(nil, store.Block{Key: key, Bytes: out})
		if err != nil || !slices.EqualFunc(bs, again, same) {
			t.Fatalf("%x, then %x: %v, then %v (%v)", in, out, bs, again, err)
		}
	})
}
