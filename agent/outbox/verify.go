package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"syscall"
)

// setAsideIfDamaged walks the file page by page and renames it to path.corrupt when its structure is
// broken, with the reason. bbolt itself must never see such a file: it would fault in its mapping, partly
// in goroutines of its own, and take the process down at every start. Records have checksums of their own.
func setAsideIfDamaged(path string) (reason string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close() // frees the lock
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return "", ErrLocked
	}
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return "", err
	}
	err = verify(f, st.Size())
	if !errors.Is(err, errCorrupt) {
		return "", err
	}
	return err.Error(), os.Rename(path, path+".corrupt")
}

// The layout of bbolt's file (go.etcd.io/bbolt/internal/common): page header of 16 bytes {id 8, flags 2,
// count 2, overflow 4}, then elements of 16 bytes, then keys and values; numbers in the machine's order.
const (
	pageHeader = 16
	flagBranch = 1
	flagLeaf   = 2
	flagMeta   = 4
	flagBucket = 1 // of a leaf element
	boltMagic  = 0xED0CDAED
	maxDepth   = 32
)

type walker struct {
	f    io.ReaderAt
	size int64 // of a page
	high uint64
	seen map[uint64]bool
}

var order = binary.NativeEndian

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errCorrupt}, args...)...)
}

// verify returns an error that wraps errCorrupt for a broken file and another for one that cannot be read.
func verify(f io.ReaderAt, size int64) error {
	var root, high, newest uint64
	var pageSize int64
	for _, at := range []int64{0, int64(os.Getpagesize())} {
		m := make([]byte, pageHeader+64)
		if _, err := f.ReadAt(m, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		m = m[pageHeader:]
		sum := fnv.New64a()
		_, _ = sum.Write(m[:56])
		if order.Uint32(m) != boltMagic || sum.Sum64() != order.Uint64(m[56:]) {
			continue
		}
		if txid := order.Uint64(m[48:]); pageSize == 0 || txid > newest {
			newest = txid
			pageSize, root, high = int64(order.Uint32(m[8:])), order.Uint64(m[16:]), order.Uint64(m[40:])
		}
	}
	if pageSize < 512 || pageSize > 64<<10 {
		return damaged("no valid meta page")
	}
	if high < 4 || high > uint64(size/pageSize) {
		return damaged("%d bytes cannot hold %d pages", size, high)
	}
	w := &walker{f: f, size: pageSize, high: high, seen: map[uint64]bool{0: true, 1: true}}
	return w.page(root, nil, nil, 0)
}

// page checks one page and what is below it; its keys lie in [from, to), where nil does not bound.
func (w *walker) page(id uint64, from, to []byte, depth int) error {
	if id >= w.high || depth > maxDepth {
		return damaged("page %d of %d at depth %d", id, w.high, depth)
	}
	head := make([]byte, pageHeader)
	if _, err := w.f.ReadAt(head, int64(id)*w.size); err != nil {
		return err
	}
	overflow := uint64(order.Uint32(head[12:]))
	if order.Uint64(head) != id || overflow >= w.high-id {
		return damaged("page %d calls itself %d and runs over %d more", id, order.Uint64(head), overflow)
	}
	for p := id; p <= id+overflow; p++ {
		if w.seen[p] {
			return damaged("page %d is used twice", p)
		}
		w.seen[p] = true
	}
	b := make([]byte, int64(overflow+1)*w.size)
	if _, err := w.f.ReadAt(b, int64(id)*w.size); err != nil {
		return err
	}
	return w.elements(b, from, to, depth)
}

func (w *walker) elements(b, from, to []byte, depth int) error {
	id, flags, n := order.Uint64(b), order.Uint16(b[8:]), int(order.Uint16(b[10:]))
	if flags != flagBranch && flags != flagLeaf || pageHeader*(n+1) > len(b) || flags == flagBranch && n == 0 {
		return damaged("page %d has flags %d and %d elements", id, flags, n)
	}
	var keys [][]byte
	for i := range n {
		at := pageHeader * (i + 1)
		e := b[at:]
		if flags == flagBranch {
			k, err := slice(e, id, order.Uint32(e), order.Uint32(e[4:]))
			if err != nil {
				return err
			}
			keys = append(keys, k)
			continue
		}
		pos, ksize, vsize := order.Uint32(e[4:]), order.Uint32(e[8:]), order.Uint32(e[12:])
		k, err := slice(e, id, pos, ksize)
		if err != nil {
			return err
		}
		v, err := slice(e, id, pos+ksize, vsize)
		if err != nil {
			return err
		}
		keys = append(keys, k)
		switch f := order.Uint32(e); f {
		case 0:
		case flagBucket:
			if err := w.bucket(id, v, depth); err != nil {
				return err
			}
		default:
			return damaged("page %d has an element with flags %d", id, f)
		}
	}
	for i, k := range keys {
		if i > 0 && bytes.Compare(keys[i-1], k) >= 0 || i == 0 && flags == flagLeaf && from != nil && bytes.Compare(k, from) < 0 ||
			to != nil && bytes.Compare(k, to) >= 0 {
			return damaged("page %d has keys out of order", id)
		}
	}
	if flags == flagLeaf {
		return nil
	}
	for i, k := range keys {
		below := to
		if i+1 < n {
			below = keys[i+1]
		}
		if err := w.page(order.Uint64(b[pageHeader*(i+1)+8:]), k, below, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the value of a bucket element: its root page, or the page that lies inside the value.
func (w *walker) bucket(page uint64, v []byte, depth int) error {
	if len(v) < 16 {
		return damaged("page %d has a bucket of %d bytes", page, len(v))
	}
	if root := order.Uint64(v); root != 0 {
		return w.page(root, nil, nil, depth+1)
	}
	inline := v[16:]
	if len(inline) < pageHeader || order.Uint16(inline[8:]) != flagLeaf {
		return damaged("page %d has a damaged bucket inside", page)
	}
	return w.elements(inline, nil, nil, depth+1)
}

func slice(e []byte, page uint64, pos, size uint32) ([]byte, error) {
	if uint64(pos)+uint64(size) > uint64(len(e)) {
		return nil, damaged("page %d has an element that ends outside", page)
	}
	return e[pos : pos+size], nil
}
