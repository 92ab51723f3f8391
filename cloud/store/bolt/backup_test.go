package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

func put(t testing.TB, db store.DB, from, to int) {
	t.Helper()
	err := db.Update(context.Background(), "acme", func(tx store.Tx) error {
		for i := from; i < to; i++ {
			if err := notes.Put(tx, &note{"h", int64(i), fmt.Sprint("text ", i)}); err != nil {
				return err
			}
			if err := store.Enqueue(tx, store.Job{Queue: "q", ID: fmt.Sprint(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// count checks that the notes are those from 0 on, whole, and returns how many.
func count(t testing.TB, db store.DB) int {
	t.Helper()
	n := 0
	err := db.View(context.Background(), "acme", func(tx store.Tx) error {
		for v, err := range notes.Scan(tx, store.Range{Prefix: store.Key{"h"}}) {
			if err != nil {
				return err
			}
			if v.ID != int64(n) || v.Text != fmt.Sprint("text ", n) {
				t.Errorf("note %d is %+v", n, v)
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestABackupTakenUnderLoadIsOneMomentAndRestores(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "store.db"))
	put(t, db, 0, 2000)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 2000; ; i += 10 {
			select {
			case <-stop:
				return
			default:
				put(t, db, i, i+10)
			}
		}
	})
	path := filepath.Join(dir, "backup")
	n, err := db.BackupTo(path)
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() != n || fi.Mode().Perm() != 0o600 {
		t.Fatalf("backup of %d bytes: %v, %v", n, fi, err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	restored := filepath.Join(dir, "restored.db")
	if err := bolt.Restore(t.Context(), f, restored, notes); err != nil {
		t.Fatal(err)
	}
	again := open(t, restored)
	got := count(t, again)
	if got < 2000 || got%10 != 0 {
		t.Errorf("%d notes restored, want whole transactions from 2000 on", got)
	}
	put(t, again, got, got+1)
	if err := again.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := f.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	if err := bolt.Restore(t.Context(), f, restored, notes); !errors.Is(err, os.ErrExist) {
		t.Errorf("restore over a store: %v", err)
	}
	if _, err := db.BackupTo(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("backup over a backup: %v", err)
	}
}

func TestADamagedBackupIsRefusedAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	db := open(t, filepath.Join(dir, "store.db"))
	put(t, db, 0, 500)
	var b bytes.Buffer
	if _, err := db.Backup(&b); err != nil {
		t.Fatal(err)
	}
	good := b.Bytes()
	flip := func(at int) []byte {
		c := bytes.Clone(good)
		c[at] ^= 1
		return c
	}
	for name, backup := range map[string][]byte{
		"a flipped bit in the first byte": flip(0),
		"a flipped bit in the size":       flip(20),
		"a flipped bit in the middle":     flip(len(good) / 2),
		"a flipped bit in the checksum":   flip(len(good) - 1),
		"an end cut off":                  good[:len(good)-1],
		"half of it":                      good[:len(good)/2],
		"nothing":                         nil,
		"something behind it":             append(bytes.Clone(good), 0),
		"another file":                    []byte("PK\x03\x04 some archive or other that is long enough"),
	} {
		t.Run(name, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "restored.db")
			if err := bolt.Restore(t.Context(), bytes.NewReader(backup), to, notes); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("restore: %v", err)
			}
			if err := bolt.VerifyBackup(bytes.NewReader(backup)); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("verify: %v", err)
			}
			if left, err := os.ReadDir(filepath.Dir(to)); err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
	if err := bolt.VerifyBackup(bytes.NewReader(good)); err != nil {
		t.Error(err)
	}
}

// tamper changes the file as no store would.
func tamper(t *testing.T, path string, fn func(tx *bbolt.Tx) error) {
	t.Helper()
	file, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Update(fn); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTheCheckNamesWhatIsWrong(t *testing.T) {
	row := []byte("acme\x00h\x00\x80\x00\x00\x00\x00\x00\x00\x07")
	blob := []byte("acme\x00\x80\x00\x00\x00\x00\x00\x00\x07")
	place := func(n byte) []byte { return []byte{7: n} } // blob 7 came as the eighth
	for name, c := range map[string]struct {
		tamper func(tx *bbolt.Tx) error
		want   string
	}{
		"a lost row": {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("table/notes")).Delete(row) }, "index by_text has 50 entries, its rows have 49"},
		"a lost index row": {func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("index/notes/by_text")).Delete([]byte("acme\x00text 7\x00" + string(row[5:])))
		}, "is not in index by_text"},
		"a stray key":       {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("table/notes")).Put([]byte("x"), nil) }, "makes no sense"},
		"a broken document": {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("table/notes")).Put(row, []byte{0xff}) }, "document at"},
		"lost bytes":        {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("bytes/blobs")).Delete(place(8)) }, "has no bytes at its place 0000000000000008"},
		"a shared place":    {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("table/blobs")).Put(blob, place(9)) }, "shares its place 0000000000000009"},
		"bytes of no row":   {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("table/blobs")).Delete(blob) }, "49 rows have their bytes at 50 places"},
		"a place ahead":     {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("bytes/blobs")).SetSequence(49) }, "place 0000000000000032 would be given again"},
		"a lost job":        {func(tx *bbolt.Tx) error { return tx.Bucket([]byte("jobs")).Delete([]byte("acme\x00q\x007\x00")) }, "49 jobs stand in 50 places"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			db := open(t, path)
			put(t, db, 0, 50)
			err := db.Update(t.Context(), "acme", func(tx store.Tx) error {
				for i := range 50 {
					if err := blobs.Put(tx, []byte{byte(i)}, i); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Check(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := bolt.CheckFile(t.Context(), path, notes, blobs); err != nil {
				t.Fatal(err)
			}
			tamper(t, path, c.tamper)
			err = bolt.CheckFile(t.Context(), path, notes, blobs)
			if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("check: %v, want %q", err, c.want)
			}
		})
	}
}

func TestOpenNamesWhatIsInItsWay(t *testing.T) {
	dir := t.TempDir()
	inUse := filepath.Join(dir, "in-use.db")
	open(t, inUse)
	garbage := filepath.Join(dir, "garbage.db")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("not a store "), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(dir, "older.db")
	if err := open(t, older).Close(); err != nil {
		t.Fatal(err)
	}
	tamper(t, older, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("1")) })
	newer := filepath.Join(dir, "newer.db")
	if err := open(t, newer).Close(); err != nil {
		t.Fatal(err)
	}
	tamper(t, newer, func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("4")) })
	for name, c := range map[string]struct {
		path string
		want error
	}{
		"another process":      {inUse, store.ErrUnavailable},
		"no store":             {garbage, store.ErrCorrupt},
		"an older format":      {older, store.ErrSchema},
		"a newer format":       {newer, store.ErrSchema},
		"a folder that is not": {filepath.Join(dir, "no", "store.db"), os.ErrNotExist},
		"no path":              {"", store.ErrInvalid},
	} {
		_, err := bolt.Open(bolt.Options{Path: c.path}, notes)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.path) {
			t.Errorf("%s: %v, want %v naming the path", name, err, c.want)
		}
	}
}
