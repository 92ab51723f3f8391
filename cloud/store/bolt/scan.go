package bolt

import (
	"bytes"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
)

// span is a range of whole bucket keys: lo <= key < hi.
type span struct {
	lo, hi []byte
	after  []byte // not nil: start behind this key
}

func (t *txn) span(s *store.Schema, order store.Columns, r store.Range) (span, error) {
	base, err := store.AppendKey(append(make([]byte, 0, 2*keyRoom), t.start()...), order, r.Prefix)
	if err != nil {
		return span{}, err
	}
	sp := span{lo: base}
	bound := func(part any) ([]byte, error) {
		if len(r.Prefix) == len(order) {
			return nil, fmt.Errorf("%w: bound behind the last column", store.ErrInvalid)
		}
		return store.AppendKey(bytes.Clone(base), order[len(r.Prefix):], store.Key{part})
	}
	if r.From != nil {
		if sp.lo, err = bound(r.From); err != nil {
			return span{}, err
		}
	}
	if r.To != nil {
		if sp.hi, err = bound(r.To); err != nil {
			return span{}, err
		}
	} else {
		sp.hi = successor(append(base, base...)[len(base):]) // mostly in what base has left
	}
	pos, err := r.After.Pos(order)
	if err != nil {
		return span{}, err
	}
	if pos != nil {
		sp.after = append(t.start(), pos...)
		t.key = nil // given away
	}
	return sp, nil
}

// successor makes p the least key that is greater than all keys beginning with p. There is one: p begins
// with a tenant, which is ASCII.
func successor(p []byte) []byte {
	for i := len(p) - 1; ; i-- {
		if p[i]++; p[i] != 0 {
			return p[:i+1]
		}
	}
}

// from is where a scan begins that goes upwards; after is not part of it.
func (sp span) from() []byte {
	if bytes.Compare(sp.after, sp.lo) > 0 {
		return sp.after
	}
	return sp.lo
}

// to is below where a scan begins that goes downwards.
func (sp span) to() []byte {
	if sp.after != nil && bytes.Compare(sp.after, sp.hi) < 0 {
		return sp.after
	}
	return sp.hi
}

// walk goes through the keys of a bucket in one direction.
type walk struct {
	c       *bbolt.Cursor
	reverse bool
	k, v    []byte // where it is; k is nil at the end
}

// seek goes to the first key of the span.
func (w *walk) seek(sp span) {
	if w.reverse {
		w.below(sp.to())
	} else if w.k, w.v = w.c.Seek(sp.from()); w.k != nil && bytes.Equal(w.k, sp.after) {
		w.next()
	}
}

// below goes to the last key that is less than to.
func (w *walk) below(to []byte) {
	if w.k, w.v = w.c.Seek(to); w.k != nil {
		w.prev()
	} else if w.first() != nil {
		w.k, w.v = w.c.Last()
	}
}

func (w *walk) next() {
	if w.reverse {
		w.prev()
	} else {
		w.k, w.v = w.c.Next()
	}
}

// prev goes to the key before this one. A page that this transaction has emptied stays until its commit: bbolt's
// Prev then says that there is nothing, and goes on when it is asked again, while its Last never ends when
// there is nothing on any page. So what is first decides.
func (w *walk) prev() {
	at := w.k
	if w.k, w.v = w.c.Prev(); w.k != nil || bytes.Equal(at, w.first()) {
		return
	}
	for w.k == nil {
		w.k, w.v = w.c.Prev()
	}
}

// first returns the first key of the bucket, or nil. It leaves the walk where it is.
func (w *walk) first() []byte {
	k, _ := w.c.Bucket().Cursor().First()
	return k
}

func (sp span) holds(k []byte) bool {
	return k != nil && bytes.Compare(k, sp.lo) >= 0 && bytes.Compare(k, sp.hi) < 0
}

func (t *txn) Scan(s *store.Schema, r store.Range, yield func(pos, doc []byte) bool) error {
	tab, err := t.table(s)
	if err != nil {
		return err
	}
	ix, err := s.Index(r.Index)
	if err != nil {
		return err
	}
	sp, err := t.span(s, tab.names.orders[ix+1], r)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	bucket := tab.primary
	if ix >= 0 {
		bucket = tab.index(ix)
	}
	var (
		skip     = len(t.tenant) + 1
		keys     = r.KeysOnly()
		writable = t.tx.Writable()
		w        = merge{settled: walk{c: bucket.Cursor(), reverse: r.Reverse}}
		n        int
		row      []byte
		here     []byte
	)
	if tab.recent != nil {
		w.recent = &recentWalk{series: walk{c: tab.recent.Cursor(), reverse: r.Reverse}}
	}
	for k, v := w.seek(sp); sp.holds(k); {
		if ix >= 0 && !keys {
			if row == nil {
				row = make([]byte, 0, keyRoom)
			}
			row = append(row[:0], k[:skip]...)
			row = append(row, store.SkipKey(k[skip:], s.Indexes[ix].On)...)
			if v, err = tab.lookup(row); err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			if v == nil {
				return fmt.Errorf("%w: %s: index %s names a row that is not there", store.ErrCorrupt, s.Name, r.Index)
			}
		}
		if keys {
			v = nil
		} else if v, err = tab.doc(v); err != nil {
			return err
		}
		seen := t.writes
		if writable { // the loop may write, and what bbolt gave us then moves
			here = append(here[:0], k...)
			k = here
			if s.Bytes {
				v = bytes.Clone(v)
			}
		}
		if !yield(k[skip:], v) {
			return nil
		}
		if n++; n == r.Limit {
			return nil
		}
		switch {
		case t.writes != seen:
			sp.after = here
			k, v = w.seek(sp)
		default:
			k, v = w.next()
		}
	}
	return w.err()
}
