package bolt

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/hearthline/hearthline/cloud/store"
)

// request is one transaction on its way to the writer.
type request struct {
	ctx    context.Context
	tenant string
	do     func(*txn) error
	done   chan struct{} // closed when err is final
	err    error
	panic  any
}

// rethrow carries a panic of the function to the goroutine that asked for it.
func (r *request) rethrow() {
	if r.panic != nil {
		panic(r.panic)
	}
}

func (db *DB) submit(ctx context.Context, tenant string, do func(*txn) error) error {
	r := &request{ctx: ctx, tenant: tenant, do: do}
	if err := db.send([]*request{r}); err != nil {
		return err
	}
	// Also when ctx ends: the function may be running, and its variables belong to the caller.
	<-r.done
	r.rethrow()
	return r.err
}

func (db *DB) send(rs []*request) error {
	for _, r := range rs {
		r.done = make(chan struct{})
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return store.ErrClosed
	}
	db.requests <- rs
	return nil
}

// write is the one writer. It ends when Close has closed the channel and all that was sent is done.
func (db *DB) write() {
	defer close(db.done)
	var group []*request
	for rs := range db.requests {
		group = append(group[:0], rs...)
	gather:
		for len(group) < db.opts.MaxGroup {
			select {
			case more, ok := <-db.requests:
				if !ok {
					break gather
				}
				group = append(group, more...)
			default:
				break gather
			}
		}
		db.commit(group)
		clear(group)
	}
}

// commit runs the requests in order in one transaction. One that fails after it has written spoils the
// transaction: it is set aside, the others run again, and it runs alone behind them, so that every error
// is the answer to a state that was committed.
func (db *DB) commit(group []*request) {
	var alone []*request
	for len(group) > 0 {
		spoilt, err := db.try(group)
		if spoilt < 0 {
			for _, r := range group {
				if err != nil && r.panic == nil {
					r.err = err
				}
				close(r.done)
			}
			break
		}
		bad := group[spoilt]
		group = append(group[:spoilt], group[spoilt+1:]...)
		if len(group) == 0 && len(alone) == 0 { // it was alone already
			close(bad.done)
			return
		}
		alone = append(alone, bad)
	}
	for _, r := range alone {
		if spoilt, err := db.try([]*request{r}); spoilt < 0 && err != nil && r.panic == nil {
			r.err = err
		}
		close(r.done)
	}
}

// try runs the group and commits it. It returns the place of a request that failed after writing, in
// which case nothing was committed, or -1 and the error of the commit.
func (db *DB) try(group []*request) (spoilt int, err error) {
	if db.failed != nil {
		return -1, db.failed
	}
	s, err := db.begin(true)
	if err != nil {
		return -1, err
	}
	if err := db.room.ensure(s.tx.Size()); err != nil {
		s.tx.Rollback()
		return -1, err
	}
	for i, r := range group {
		r.panic = nil
		before := s.writes
		if r.err = r.ctx.Err(); r.err == nil {
			r.err = r.run(s)
		}
		if r.err != nil && s.writes != before {
			s.tx.Rollback()
			return i, nil
		}
	}
	if s.writes == 0 {
		s.tx.Rollback()
		return -1, nil
	}
	if err := s.tx.Commit(); err != nil {
		return -1, db.commitError(err)
	}
	return -1, nil
}

func (r *request) run(s *session) (err error) {
	t := txn{session: s, tenant: r.tenant}
	defer func() {
		t.end()
		if p := recover(); p != nil {
			r.panic, err = p, errors.New("panic")
		}
	}()
	return r.do(&t)
}

// commitError tells a full disk, which passes, from a disk that failed. After a failed sync the kernel may
// drop what it could not write and report the next sync as good, so nothing written from here on could be
// called durable: the store stays readable until it is opened again.
func (db *DB) commitError(err error) error {
	err = diskError(err)
	if !errors.Is(err, store.ErrFull) {
		err = fmt.Errorf("%w: writes are off until the store is opened again: %w", store.ErrUnavailable, err)
		db.failed = err
	}
	db.log.Error("store commit failed", "path", db.opts.Path, "error", err)
	return fmt.Errorf("commit store %s: %w", db.opts.Path, err)
}

func diskError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}
