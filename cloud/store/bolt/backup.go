package bolt

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
)

// A backup is
//
//	magic (18 bytes) | size of the file, 8 bytes big-endian | the file | SHA-256 of all before (32 bytes)
//
// The checksum stands at the end because it is known only then, and the size at the beginning so that a
// truncated backup is told from a damaged one.
const magic = "hearthline backup\n"

// Backup writes a snapshot of the store to w while it is in use, and returns how many bytes it wrote. The
// file cannot reuse pages while a backup runs, so it may grow.
func (db *DB) Backup(w io.Writer) (int64, error) {
	s, err := db.begin(false)
	if err != nil {
		return 0, err
	}
	defer s.tx.Rollback()
	buf := bufio.NewWriterSize(w, 1<<20)
	sum := sha256.New()
	out := io.MultiWriter(buf, sum)
	head := binary.BigEndian.AppendUint64([]byte(magic), uint64(s.tx.Size()))
	if _, err := out.Write(head); err != nil {
		return 0, fmt.Errorf("backup: %w", diskError(err))
	}
	n, err := s.tx.WriteTo(out)
	if err != nil {
		return 0, fmt.Errorf("backup: %w", diskError(err))
	}
	if n != s.tx.Size() {
		return 0, fmt.Errorf("backup: wrote %d bytes of a file of %d", n, s.tx.Size())
	}
	if _, err := buf.Write(sum.Sum(nil)); err != nil {
		return 0, fmt.Errorf("backup: %w", diskError(err))
	}
	if err := buf.Flush(); err != nil {
		return 0, fmt.Errorf("backup: %w", diskError(err))
	}
	return int64(len(head)) + n + sha256.Size, nil
}

// BackupTo writes a backup to a new file at path, which appears there only when it is whole and on disk.
func (db *DB) BackupTo(path string) (int64, error) {
	var n int64
	err := writeFile(path, func(f *os.File) (err error) {
		n, err = db.Backup(f)
		return err
	})
	return n, err
}

// VerifyBackup reads a backup to its end and returns ErrCorrupt unless it is exactly as it was written.
func VerifyBackup(r io.Reader) error {
	_, err := unpack(io.Discard, r)
	return err
}

// Restore makes a new store file at path from a backup. The file appears there only when the checksum was
// right, the pages and tables in it were found consistent, and it is on disk. An existing file is never
// replaced. Give the tables to have their indexes checked against their rows as well.
func Restore(ctx context.Context, r io.Reader, path string, tables ...store.Declared) error {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		if err == nil {
			err = os.ErrExist
		}
		return fmt.Errorf("restore to %s: %w", path, err)
	}
	return writeFile(path, func(f *os.File) error {
		if _, err := unpack(f, r); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("restore: %w", diskError(err))
		}
		if err := CheckFile(ctx, f.Name(), tables...); err != nil {
			return fmt.Errorf("restore: %w", err)
		}
		return nil
	})
}

// writeFile writes a file beside path and moves it there when fill has succeeded.
func writeFile(path string, fill func(*os.File) error) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".partial-*") // mode 0600
	if err != nil {
		return diskError(err)
	}
	defer os.Remove(f.Name()) // nothing is there when it was moved
	err = fill(f)
	if err == nil {
		err = diskError(f.Sync())
	}
	if cerr := f.Close(); err == nil {
		err = diskError(cerr)
	}
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // unlike a rename, never replaces
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// unpack copies the file out of a backup and checks it. What it has written when it fails is worthless.
func unpack(w io.Writer, r io.Reader) (int64, error) {
	br := bufio.NewReaderSize(r, 1<<20)
	sum := sha256.New()
	head := make([]byte, len(magic)+8)
	if _, err := io.ReadFull(br, head); err != nil || !bytes.HasPrefix(head, []byte(magic)) {
		return 0, fmt.Errorf("%w: not a backup of this store", store.ErrCorrupt)
	}
	sum.Write(head)
	size := int64(binary.BigEndian.Uint64(head[len(magic):]))
	n, err := copyHashed(w, sum, br, size)
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("%w: backup ends after %d of %d bytes", store.ErrCorrupt, n, size)
	case err != nil:
		return n, err
	}
	want := make([]byte, sha256.Size)
	if _, err := io.ReadFull(br, want); err != nil {
		return n, fmt.Errorf("%w: backup ends within its checksum", store.ErrCorrupt)
	}
	if !bytes.Equal(sum.Sum(nil), want) {
		return n, fmt.Errorf("%w: checksum of the backup does not match: it was changed after it was made", store.ErrCorrupt)
	}
	if _, err := br.ReadByte(); err != io.EOF {
		return n, fmt.Errorf("%w: something follows the backup's checksum", store.ErrCorrupt)
	}
	return n, nil
}

// copyHashed is io.CopyN with a hash beside it. It tells the reader's errors from the writer's.
func copyHashed(w io.Writer, sum hash.Hash, r io.Reader, size int64) (n int64, err error) {
	if size < 0 {
		return 0, fmt.Errorf("%w: impossible size in the backup", store.ErrCorrupt)
	}
	buf := make([]byte, 1<<20)
	for n < size {
		k, rerr := io.ReadFull(r, buf[:min(int64(len(buf)), size-n)])
		sum.Write(buf[:k])
		if _, werr := w.Write(buf[:k]); werr != nil {
			return n, diskError(werr)
		}
		n += int64(k)
		if errors.Is(rerr, io.EOF) {
			rerr = io.ErrUnexpectedEOF
		}
		if rerr != nil {
			return n, rerr
		}
	}
	return n, nil
}

// CheckFile checks a store file that no process has open: its pages, its jobs and, of the given tables,
// that every document can be read and stands in its indexes, and nothing else does. It changes nothing. It
// returns ErrCorrupt with the first faults it finds.
func CheckFile(ctx context.Context, path string, tables ...store.Declared) error {
	file, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 1, PreLoadFreelist: true})
	if err != nil {
		return fmt.Errorf("check %s: %w", path, openError(err))
	}
	defer file.Close()
	return file.View(func(tx *bbolt.Tx) error {
		if err := check(ctx, tx, tables); err != nil {
			return fmt.Errorf("check %s: %w", path, err)
		}
		return nil
	})
}

// Check is CheckFile on the running store, on a snapshot, for all of its tables.
func (db *DB) Check(ctx context.Context) error {
	s, err := db.begin(false)
	if err != nil {
		return err
	}
	defer s.tx.Rollback()
	var tables []store.Declared
	for _, n := range db.names {
		tables = append(tables, declared{n.schema})
	}
	return check(ctx, s.tx, tables)
}

type declared struct{ s *store.Schema }

func (d declared) Schema() *store.Schema { return d.s }
