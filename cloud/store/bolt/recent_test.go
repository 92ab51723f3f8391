package bolt_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

var runKey = store.Columns{store.Text("device"), store.Int("n")}

var (
	runs  = store.NewBlocks("runs", store.BlockSpec{Key: runKey, Series: 1})
	plain = store.NewBlocks("runs", store.BlockSpec{Key: runKey}) // as an earlier release declared it
)

// putRuns gives each of three devices the blocks from..to.
func putRuns(t *testing.T, path string, table *store.Blocks, from, to int) {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: path}, table)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := from; i < to; i++ {
		err := db.Update(t.Context(), "acme", func(tx store.Tx) error {
			for _, device := range []string{"a", "aa", "b"} {
				if err := table.Put(tx, fmt.Appendf(nil, "%s %d", device, i), device, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// counts returns how many keys the two buckets have.
func counts(t *testing.T, path string) (settled, recent int) {
	t.Helper()
	tamper(t, path, func(tx *bbolt.Tx) error {
		settled = tx.Bucket([]byte("table/runs")).Stats().KeyN
		recent = tx.Bucket([]byte("recent/runs")).Stats().KeyN
		return nil
	})
	return settled, recent
}

func TestTheNewestRowsOfASeriesAreOneRowUntilThereAreEnough(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	putRuns(t, path, runs, 0, 16)
	if settled, recent := counts(t, path); settled != 0 || recent != 3 {
		t.Errorf("16 blocks of 3 devices: %d rows settled and %d recent, want 0 and 3", settled, recent)
	}
	putRuns(t, path, runs, 16, 18)
	if settled, recent := counts(t, path); settled != 3*17 || recent != 3 {
		t.Errorf("18 blocks of 3 devices: %d rows settled and %d recent, want 51 and 3", settled, recent)
	}
}

func TestAFileFromBeforeSeriesGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	putRuns(t, path, plain, 0, 20)
	tamper(t, path, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("2")) })
	if err := bolt.CheckFile(t.Context(), path, runs); err != nil { // as Restore does with a backup of that time
		t.Error(err)
	}
	putRuns(t, path, runs, 20, 25)
	db, err := bolt.Open(bolt.Options{Path: path}, runs)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(t.Context(), "acme", func(tx store.Tx) error {
		i := 0
		for b, err := range runs.Scan(tx, store.Range{Prefix: store.Key{"aa"}}) {
			if want := fmt.Sprintf("aa %d", i); err != nil || string(b.Bytes) != want {
				return fmt.Errorf("%q, %w, want %s", b.Bytes, err, want)
			}
			i++
		}
		if i != 25 {
			return fmt.Errorf("%d blocks, want 25", i)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// Pages that a transaction empties stay until its commit, and others read meanwhile in the same commit.
func TestSeriesThatSettleInOneTransactionAreReadInIt(t *testing.T) {
	const devices = 200 // their recent rows fill many pages
	name := func(d int) string { return fmt.Sprintf("device-%03d", d) }
	for _, rest := range []int{0, 1, devices / 2} { // devices at both ends that do not settle
		db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db")}, runs)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		put := func(tx store.Tx, n int) error {
			for d := rest / 2; d < devices-(rest-rest/2); d++ {
				if err := runs.Put(tx, []byte("x"), name(d), n); err != nil {
					return err
				}
			}
			return nil
		}
		err = db.Update(t.Context(), "acme", func(tx store.Tx) error {
			for d := range devices {
				if err := runs.Put(tx, []byte("x"), name(d), -1); err != nil {
					return err
				}
			}
			for n := range 15 {
				if err := put(tx, n); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(t.Context(), "acme", func(tx store.Tx) error {
			if err := put(tx, 15); err != nil {
				return err
			}
			for _, reverse := range []bool{false, true} {
				all := 0
				for _, err := range runs.Scan(tx, store.Range{Reverse: reverse}) {
					if err != nil {
						return err
					}
					all++
				}
				if want := devices + 16*(devices-rest); all != want {
					t.Errorf("%d of %d devices settled, reverse %t: %d blocks, want %d", devices-rest, devices, reverse, all, want)
				}
				for d := range devices {
					want := 17
					if d < rest/2 || d >= devices-(rest-rest/2) {
						want = 1
					}
					n := 0
					for _, err := range runs.Scan(tx, store.Range{Prefix: store.Key{name(d)}, Reverse: reverse}) {
						if err != nil {
							return err
						}
						n++
					}
					if n != want {
						t.Errorf("%d of %d devices settled, reverse %t: device %d has %d blocks, want %d", devices-rest, devices, reverse, d, n, want)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Check(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestADeclarationCannotLoseItsSeries(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	putRuns(t, path, runs, 0, 3)
	if db, err := bolt.Open(bolt.Options{Path: path}, plain); !errors.Is(err, store.ErrSchema) {
		if err == nil {
			db.Close()
		}
		t.Errorf("opened without series: %v, want %v", err, store.ErrSchema)
	}
}

func TestTheCheckLooksAtRecentRows(t *testing.T) {
	series := []byte("acme\x00a\x00")
	for name, c := range map[string]struct {
		tamper func(recent *bbolt.Bucket, table *bbolt.Bucket) error
		want   string
	}{
		"cut short": {func(recent, _ *bbolt.Bucket) error {
			row := recent.Get(series)
			return recent.Put(series, row[:len(row)-1])
		}, "recent rows make no sense"},
		"in both": {func(recent, table *bbolt.Bucket) error {
			row := recent.Get(series)
			return table.Put(append(series, row[1:9]...), row[9:17])
		}, "stands behind"},
		"lost": {func(recent, _ *bbolt.Bucket) error { return recent.Delete(series) }, "6 rows have their bytes at 9 places"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			putRuns(t, path, runs, 0, 3)
			tamper(t, path, func(tx *bbolt.Tx) error {
				return c.tamper(tx.Bucket([]byte("recent/runs")), tx.Bucket([]byte("table/runs")))
			})
			err := bolt.CheckFile(t.Context(), path, runs)
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("check: %v, want %q", err, c.want)
			}
		})
	}
}

func TestRecentRowsThatMakeNoSenseAreAnErrorOfWhoeverReadsThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	putRuns(t, path, runs, 0, 3)
	tamper(t, path, func(tx *bbolt.Tx) error {
		series, recent := []byte("acme\x00a\x00"), tx.Bucket([]byte("recent/runs"))
		row := recent.Get(series)
		return recent.Put(series, row[:len(row)-1])
	})
	db, err := bolt.Open(bolt.Options{Path: path}, runs)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for name, do := range map[string]func(tx store.Tx) error{
		"get":    func(tx store.Tx) error { _, err := runs.Get(tx, "a", 2); return err },
		"put":    func(tx store.Tx) error { return runs.Put(tx, []byte("x"), "a", 2) },
		"delete": func(tx store.Tx) error { return runs.Delete(tx, "a", 2) },
		"scan": func(tx store.Tx) error {
			for _, err := range runs.Scan(tx, store.Range{Prefix: store.Key{"a"}}) {
				if err != nil {
					return err
				}
			}
			return nil
		},
	} {
		if err := db.Update(t.Context(), "acme", do); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v, want %v", name, err, store.ErrCorrupt)
		}
	}
}
