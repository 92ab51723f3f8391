package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/hearthline/hearthline/cloud/store"
)

// The newest rows of the series of a table stand side by side:
//
//	recent  tenant, series -> { length of rest, rest, place }   up to maxRecent, in the order of rest
//	table   tenant, series, rest -> place                       all others
//
// Rest is the key behind the columns that name the series, its length a binary uvarint. So a commit that
// brings a row of each of many devices rewrites a page for every ten of them, and not the last page of each;
// a series that has gathered enough puts it in its place together, mostly on one page. A row stands
// in one of the two.

// maxRecent is how many rows of a series gather: with 40 bytes each, what is rewritten for a new one stays
// small beside the page of 4 kB that it saves.
const maxRecent = 16

var errRecent = fmt.Errorf("%w: recent rows make no sense", store.ErrCorrupt)

// ref is a row of a series.
type ref struct{ rest, place []byte }

func appendRef(dst []byte, r ref) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(r.rest)))
	return append(append(dst, r.rest...), r.place...)
}

// refs goes through the rows of a series. It yields the zero ref last when they are malformed.
func refs(row []byte) iter.Seq[ref] {
	return func(yield func(ref) bool) {
		for len(row) > 0 {
			n, head := binary.Uvarint(row)
			if head <= 0 || n == 0 || n > uint64(len(row)) || len(row) < head+int(n)+placeBytes {
				yield(ref{})
				return
			}
			end := head + int(n)
			if !yield(ref{row[head:end:end], row[end : end+placeBytes : end+placeBytes]}) {
				return
			}
			row = row[end+placeBytes:]
		}
	}
}

// cut splits a key into that of its series and the rest.
func (tab *openTable) cut(k []byte) (series, rest []byte) {
	pk := k[bytes.IndexByte(k, 0)+1:]
	s := tab.names.schema
	rest = store.SkipKey(pk, s.Key[:s.Series])
	return k[:len(k)-len(rest)], rest
}

// lookupRecent returns the place of the row at k, or nil when it does not stand in recent.
func (tab *openTable) lookupRecent(k []byte) ([]byte, error) {
	series, rest := tab.cut(k)
	for r := range refs(seek(tab.last, series)) {
		switch {
		case r.rest == nil:
			return nil, errRecent
		case bytes.Equal(r.rest, rest):
			return r.place, nil
		}
	}
	return nil, nil
}

// putRecent adds a row that is not there, and settles the series when it has gathered enough.
func (tab *openTable) putRecent(k, place []byte) error {
	series, rest := tab.cut(k)
	was := seek(tab.last, series)
	now := tab.values.room(len(was) + len(rest) + placeBytes + binary.MaxVarintLen16)
	added, n := ref{rest, place}, 1
	for r := range refs(was) {
		if r.rest == nil {
			return errRecent
		}
		if added.rest != nil && bytes.Compare(rest, r.rest) < 0 {
			now = appendRef(now, added)
			added.rest = nil
		}
		now = appendRef(now, r)
		n++
	}
	if added.rest != nil {
		now = appendRef(now, added)
	}
	if n <= maxRecent {
		return tab.recent.Put(series, now)
	}
	whole := bytes.Clone(series)
	for r := range refs(now) {
		if err := tab.primary.Put(append(whole[:len(series)], r.rest...), r.place); err != nil {
			return err
		}
	}
	return tab.recent.Delete(series)
}

// deleteRecent removes the row at k if it stands in recent.
func (tab *openTable) deleteRecent(k []byte) (there bool, err error) {
	series, rest := tab.cut(k)
	var now []byte
	for r := range refs(seek(tab.last, series)) {
		switch {
		case r.rest == nil:
			return there, errRecent
		case bytes.Equal(r.rest, rest):
			there = true
		default:
			now = appendRef(now, r)
		}
	}
	if !there {
		return false, nil
	}
	if len(now) == 0 {
		return true, tab.recent.Delete(series)
	}
	return true, tab.recent.Put(series, now)
}

// recentWalk goes through the rows that stand in recent, in one direction.
type recentWalk struct {
	series walk
	refs   []ref  // of the series where it is
	left   int    // of them that it has not been to
	k, v   []byte // where it is; k is nil at the end
	err    error
}

// seek goes to the first row of the span.
func (w *recentWalk) seek(sp span) {
	s := &w.series
	// The series that begins the key that is sought has rows on both sides of it.
	if s.reverse {
		s.below(sp.to())
	} else if s.k, s.v = s.c.Seek(sp.from()); !bytes.Equal(s.k, sp.from()) {
		s.below(sp.from())
		if s.k == nil {
			s.k, s.v = s.c.First()
		}
	}
	w.open()
	if s.reverse {
		for to := sp.to(); w.k != nil && bytes.Compare(w.k, to) >= 0; {
			w.next()
		}
		return
	}
	for from := sp.from(); w.k != nil && (bytes.Compare(w.k, from) < 0 || bytes.Equal(w.k, sp.after)); {
		w.next()
	}
}

// open goes to the first row of the series where w.series is.
func (w *recentWalk) open() {
	w.k, w.refs, w.left = nil, w.refs[:0], 0
	if w.series.k == nil {
		return
	}
	for r := range refs(w.series.v) {
		if r.rest == nil {
			w.err = errRecent
			return
		}
		w.refs = append(w.refs, r)
	}
	w.left = len(w.refs)
	w.next()
}

// next goes to the next row, of this series or of the next one.
func (w *recentWalk) next() {
	if w.left == 0 {
		w.series.next()
		w.open()
		return
	}
	w.left--
	i := w.left
	if !w.series.reverse {
		i = len(w.refs) - 1 - w.left
	}
	w.k = slices.Concat(w.series.k, w.refs[i].rest)
	w.v = w.refs[i].place
}

// merge goes through all rows of a table, or all places of an index, in one direction.
type merge struct {
	settled walk
	recent  *recentWalk // nil when all are settled
}

func (m *merge) seek(sp span) (k, v []byte) {
	m.settled.seek(sp)
	if m.recent != nil {
		m.recent.seek(sp)
	}
	return m.head()
}

func (m *merge) next() (k, v []byte) {
	if m.isRecent() {
		m.recent.next()
	} else {
		m.settled.next()
	}
	return m.head()
}

func (m *merge) head() (k, v []byte) {
	switch {
	case m.err() != nil:
		return nil, nil
	case m.isRecent():
		return m.recent.k, m.recent.v
	}
	return m.settled.k, m.settled.v
}

// isRecent tells whether the row where m is stands in recent.
func (m *merge) isRecent() bool {
	if m.recent == nil || m.recent.k == nil || m.settled.k == nil {
		return m.recent != nil && m.recent.k != nil
	}
	return (bytes.Compare(m.recent.k, m.settled.k) < 0) != m.settled.reverse
}

func (m *merge) err() error {
	if m.recent == nil {
		return nil
	}
	return m.recent.err
}
