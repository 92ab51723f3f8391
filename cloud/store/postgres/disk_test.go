package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/postgres"
	"github.com/hearthline/hearthline/cloud/store/postgres/pgtest"
)

// volume mounts an ext4 file system of its own, which other users may enter.
func volume(t *testing.T, megabytes int64) (dir string) {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	dir, err := os.MkdirTemp("", "volume")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := osexec.Command(name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %v: %v: %s", name, args, err, out)
		}
	}
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, megabytes<<20); err != nil {
		t.Fatal(err)
	}
	run("mkfs.ext4", "-q", "-m", "0", image)
	run("mount", "-o", "loop", image, dir)
	t.Cleanup(func() {
		// The processes of a server that was killed see it only after a moment.
		err := unix.Unmount(dir, 0)
		for end := time.Now().Add(10 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(end); err = unix.Unmount(dir, 0) {
			time.Sleep(50 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// fillUp leaves a volume without a free block, and returns what gives the room back.
func fillUp(t *testing.T, dir string) (remove func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 1<<10; size /= 4 {
		buf := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(buf)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// TestAFullVolume runs the whole server on a volume that has no room left. First the tables cannot grow:
// writes are refused by name, reads go on. Then the log cannot: the server stops itself, which is the end
// of reads as well. With room again it goes on where it was.
func TestAFullVolume(t *testing.T) {
	dir := volume(t, 160)
	t.Setenv("TMPDIR", dir)
	srv, err := pgtest.New("max_wal_size=32MB", "min_wal_size=32MB", "restart_after_crash=off")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	service, owner, err := srv.Database()
	if err != nil {
		t.Fatal(err)
	}
	db, err := postgres.Open(t.Context(), postgres.Options{URL: service, MigrateURL: owner, Patience: 300 * time.Millisecond}, notes)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()

	n := int64(0)
	write := func(many int64) error { // all or none
		err := db.Update(context.Background(), "acme", func(tx store.Tx) error {
			for i := range many {
				if err := notes.Put(tx, &note{"h", n + i, strings.Repeat("x", 500), []string{fmt.Sprint(i)}}); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			n += many
		}
		return err
	}
	same := func(when string) {
		t.Helper()
		if got := count(t, db); got != int(n) {
			t.Errorf("%s: %d notes, want %d", when, got, n)
		}
	}
	if err := write(1000); err != nil {
		t.Fatal(err)
	}
	empty := fillUp(t, dir)
	for err = nil; err == nil; {
		err = write(10)
	}
	t.Logf("full after %d notes: %v", n, err)
	for _, many := range []int64{10, 5000} {
		err := write(many)
		if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), databaseName(service)) || !strings.Contains(err.Error(), "No space left") {
			t.Errorf("%d notes on a full disk: %v", many, err)
		}
		same("on a full disk")
	}
	empty()
	if err := write(5000); err != nil {
		t.Errorf("with room again: %v", err)
	}
	same("with room again")

	empty = fillUp(t, dir)
	conn, err := pgx.Connect(t.Context(), srv.AdminURL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	for err = nil; err == nil; {
		_, err = conn.Exec(t.Context(), "select pg_logical_emit_message(false, '', repeat('x', 1 << 20))")
	}
	t.Logf("the log: %v", err)
	if err := write(10); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("without room for the log: %v", err)
	}
	empty()
	if err := srv.Stop(); err != nil { // what is left of it
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	same("after the server's crash")
	if err := write(10); err != nil {
		t.Errorf("after the server's crash: %v", err)
	}
	same("in the end")
}
