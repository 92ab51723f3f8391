package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

// volume is an ext4 file system of its own in a file.
type volume struct {
	t     testing.TB
	image string
	dir   string

	copies int
}

func newVolume(t testing.TB, megabytes int) *volume {
	t.Helper()
	v := &volume{t: t, image: filepath.Join(t.TempDir(), "image"), dir: t.TempDir()}
	f, err := os.Create(v.image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(megabytes) << 20); err != nil {
		t.Fatal(err)
	}
	v.run("mkfs.ext4", "-q", v.image)
	v.mount()
	t.Cleanup(v.unmount)
	return v
}

func (v *volume) run(name string, args ...string) {
	v.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		v.t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// renew mounts a copy of what reached the disk. The volume itself may live on in a mount namespace that
// some other process made in the meantime, and would come back as dead as it was left.
func (v *volume) renew() {
	v.t.Helper()
	v.unmount()
	v.copies++
	next := fmt.Sprintf("%s.%d", v.image[:len(v.image)-len(filepath.Ext(v.image))], v.copies)
	v.run("cp", "--sparse=always", v.image, next)
	v.run("rm", v.image)
	v.image = next
	v.mount()
}

func (v *volume) mount()   { v.t.Helper(); v.run("mount", "-o", "loop", v.image, v.dir) }
func (v *volume) unmount() { v.t.Helper(); v.run("umount", v.dir) }

// powerCut stops the file system as a power cut does: nothing more reaches the disk, not even what is in
// its journal's memory (FS_IOC_SHUTDOWN with FSOP_GOING_FLAGS_NOLOGFLUSH, linux/fs/ext4).
func (v *volume) powerCut() {
	v.t.Helper()
	d, err := os.Open(v.dir)
	if err != nil {
		v.t.Fatal(err)
	}
	defer d.Close()
	const shutdown = 0x8004587d
	flags := uint32(2)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		v.t.Fatalf("shutdown of %s: %v", v.dir, errno)
	}
}

func TestAFullDiskRefusesWritesAndServesReads(t *testing.T) {
	v := newVolume(t, 64)
	path := filepath.Join(v.dir, "store.db")
	db := open(t, path)
	put(t, db, 0, 1000)
	n := 1000
	ballast := filepath.Join(v.dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(buf)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	f.Close()

	write := func(i int) error {
		return db.Update(context.Background(), "acme", func(tx store.Tx) error {
			return notes.Put(tx, &note{"h", int64(i), fmt.Sprint("text ", i)})
		})
	}
	for err = nil; err == nil && n < 1_000_000; n++ {
		err = write(n)
	}
	n--
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("after %d notes: %v", n, err)
	}
	t.Logf("the disk was full after %d more notes", n-1000)
	for range 3 {
		if err := write(n); !errors.Is(err, store.ErrFull) {
			t.Errorf("another write: %v", err)
		}
		if got := count(t, db); got != n {
			t.Errorf("%d notes can be read, want %d", got, n)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := write(n); err != nil {
		t.Errorf("with room again: %v", err)
	}
	n++
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	if got := count(t, db); got != n {
		t.Errorf("%d notes after opening again, want %d", got, n)
	}
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if err := db.Close(); err != nil { // before the volume goes
		t.Error(err)
	}
}

func TestALargeCommitOnAFullDiskIsRefusedWhole(t *testing.T) {
	v := newVolume(t, 32)
	path := filepath.Join(v.dir, "store.db")
	db := open(t, path)
	put(t, db, 0, 100)
	err := db.Update(context.Background(), "acme", func(tx store.Tx) error {
		for i := range 64 {
			if err := blobs.Put(tx, make([]byte, 1<<20), i); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, store.ErrFull) {
		t.Fatal(err)
	}
	if got := count(t, db); got != 100 {
		t.Errorf("%d notes, want 100", got)
	}
	put(t, db, 100, 200) // a small one still fits
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, path)
	if got := count(t, db); got != 200 {
		t.Errorf("%d notes after opening again, want 200", got)
	}
	if err := errors.Join(db.Check(t.Context()), db.Close()); err != nil {
		t.Error(err)
	}
}

// turn is what transaction n of a writer does to its block, put it, replace it with a larger one, delete it,
// and to its series, which gets longer.
func turn(tx store.Tx, w int, n int64) error {
	if err := runs.Put(tx, fmt.Append(nil, n), fmt.Sprint("w", w), n); err != nil {
		return err
	}
	if n%3 == 2 {
		return blobs.Delete(tx, w)
	}
	return blobs.Put(tx, bytes.Repeat([]byte{byte(n)}, 3000*int(n%3+1)), w)
}

// turned returns an error unless a writer's block and series are as n transactions leave them.
func turned(tx store.Tx, w int, n int64) error {
	length := int64(0)
	for b, err := range runs.Scan(tx, store.Range{Prefix: store.Key{fmt.Sprint("w", w)}}) {
		if err != nil || b.Key[1] != length || string(b.Bytes) != fmt.Sprint(length) {
			return fmt.Errorf("writer %d: number %d of its series is %v with %q: %w", w, length, b.Key, b.Bytes, err)
		}
		length++
	}
	if length != n {
		return fmt.Errorf("writer %d: after %d transactions its series has %d", w, n, length)
	}
	block, err := blobs.Get(tx, w)
	if n%3 == 0 && errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || !bytes.Equal(block, bytes.Repeat([]byte{byte(n - 1)}, 3000*int((n-1)%3+1))) {
		return fmt.Errorf("writer %d: after %d transactions its block has %d bytes: %v", w, n, len(block), err)
	}
	return nil
}

// cut writes from several goroutines, cuts the power at a random moment, and returns how many
// acknowledged transactions are missing afterwards, out of how many.
func cut(t *testing.T, v *volume, noSync bool) (lost, acked int) {
	t.Helper()
	const writers = 4
	path := filepath.Join(v.dir, "store.db")
	db, err := bolt.Open(bolt.Options{Path: path, NoSync: noSync}, notes, blobs, runs)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	home := func(w int) string { return fmt.Sprint("w", w) }
	number := func(db store.DB, w int) (n int64) {
		err := db.View(ctx, "acme", func(tx store.Tx) error {
			n = 0
			for v, err := range notes.Scan(tx, store.Range{Prefix: store.Key{home(w)}}) {
				if err != nil {
					return err
				}
				if v.ID != n {
					t.Errorf("writer %d: note %d is missing before %d", w, n, v.ID)
				}
				n = v.ID + 1
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	var off atomic.Bool
	var done [writers]int64
	var wg sync.WaitGroup
	for w := range writers {
		done[w] = number(db, w)
		wg.Go(func() {
			for !off.Load() {
				n := done[w]
				err := db.Update(ctx, "acme", func(tx store.Tx) error {
					return errors.Join(notes.Insert(tx, &note{home(w), n, fmt.Sprint(w, " ", n)}), turn(tx, w, n))
				})
				if off.Load() || err != nil {
					return // told after the cut, by a machine that has no power
				}
				done[w] = n + 1
			}
		})
	}
	time.Sleep(time.Duration(5+rand.IntN(60)) * time.Millisecond)
	off.Store(true) // before the cut: what is acknowledged from here on does not count
	v.powerCut()
	wg.Wait()
	_ = db.Close() // whatever it says: the disk is gone
	v.renew()
	if db, err = bolt.Open(bolt.Options{Path: path}, notes, blobs, runs); err != nil {
		if noSync {
			return 1, 1 // nothing left to open: that is lost
		}
		t.Fatalf("open after the cut: %v", err)
	}
	defer db.Close()
	if err := db.Check(ctx); err != nil {
		if noSync {
			return 1, 1
		}
		t.Fatalf("after the cut: %v", err)
	}
	for w := range writers {
		have := number(db, w)
		if err := db.View(ctx, "acme", func(tx store.Tx) error { return turned(tx, w, have) }); err != nil {
			t.Error(err)
		}
		acked += int(done[w])
		lost += int(max(0, done[w]-have))
	}
	return lost, acked
}

func TestNothingAcknowledgedIsLostInAPowerCut(t *testing.T) {
	cuts := 5
	if os.Getenv("HEARTH_LONG") != "" {
		cuts = 200
	}
	v := newVolume(t, 128)
	total := 0
	for i := range cuts {
		lost, acked := cut(t, v, false)
		if lost > 0 {
			t.Errorf("cut %d: %d of %d acknowledged transactions are lost", i, lost, acked)
		}
		total = acked
	}
	t.Logf("%d power cuts, %d acknowledged transactions, none lost", cuts, total)
	if total < cuts {
		t.Errorf("only %d transactions in %d cuts: too few to lose any", total, cuts)
	}
}

func TestThePowerCutTestSeesALoss(t *testing.T) {
	for range 20 {
		if lost, _ := cut(t, newVolume(t, 64), true); lost > 0 {
			return
		}
	}
	t.Error("without sync nothing was lost in 20 power cuts: the test is blind")
}
