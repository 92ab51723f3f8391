package bolt

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// room keeps disk space allocated ahead of the file, so that a full disk is met before a transaction and
// not in the middle of its commit: bbolt then has to read the whole file again to know its free pages.
type room struct {
	file *os.File
	have int64 // bytes from the start of the file that are known to be allocated
	off  bool  // the file system cannot do it
}

const (
	minStep = 1 << 20
	maxStep = 64 << 20
)

// openRoom opens the file a second time, since bbolt keeps its own to itself.
func openRoom(path string) (*room, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &room{file: f}, nil
}

// ensure allocates space for the file to grow from its present size. It returns ErrFull when too little is
// left to be sure of a commit. Called by the writer only.
func (r *room) ensure(size int64) error {
	step := min(max(size/2, minStep), maxStep)
	if r.off || r.have-size >= step/2 {
		return nil
	}
	// The size of the file as others see it stays: bbolt looks at it.
	err := unix.Fallocate(int(r.file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size+step)
	switch {
	case err == nil:
		r.have = size + step
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		r.off = true
		return nil
	case errors.Is(err, unix.EINTR):
		return nil // next time
	case r.have-size >= minStep/4:
		return nil // room for a small commit, which may be one that deletes
	}
	return fmt.Errorf("store %s: %w", r.file.Name(), diskError(err))
}

func (r *room) close() error { return r.file.Close() }
