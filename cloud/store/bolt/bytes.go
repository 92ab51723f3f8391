package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
)

// The bytes of a table of blocks stand apart from its keys, in a bucket that only grows at its end:
//
//	table  tenant, key -> place           in the order of the keys
//	bytes  place -> the block as it came  in the order of coming
//	place  8 bytes big-endian, from 1 upwards, given once
//
// So what a commit brings is written side by side, whatever devices it is of, and what has to be rewritten
// to stay in the order of the keys is small, however large the blocks are. A place belongs to one row: a
// block that is replaced keeps it, one that is deleted takes it along.

const placeBytes = 8

// doc is the document, or the block, of a row whose value is v.
func (tab *openTable) doc(v []byte) ([]byte, error) {
	if tab.bytes == nil {
		return v, nil
	}
	if tab.at == nil {
		tab.at = tab.bytes.Cursor()
	}
	if block := seek(tab.at, v); block != nil {
		return block, nil
	}
	return nil, fmt.Errorf("%w: %s: nothing at place %x", store.ErrCorrupt, tab.names.schema.Name, v)
}

// put writes the row at k, whose value was old or nil.
func (tab *openTable) put(k, old, doc []byte) error {
	switch {
	case tab.bytes == nil:
		return tab.primary.Put(k, doc)
	case old != nil:
		return tab.bytes.Put(old, doc)
	}
	n, err := tab.bytes.NextSequence()
	if err != nil {
		return err
	}
	place := binary.BigEndian.AppendUint64(tab.values.room(placeBytes), n)
	if err := tab.bytes.Put(place, doc); err != nil {
		return err
	}
	if tab.recent != nil {
		return tab.putRecent(k, place)
	}
	return tab.primary.Put(k, place)
}

// delete removes the row at k, whose value was old.
func (tab *openTable) delete(k, old []byte) error {
	if tab.bytes != nil {
		if err := tab.bytes.Delete(old); err != nil {
			return err
		}
	}
	if tab.recent != nil {
		if there, err := tab.deleteRecent(k); there || err != nil {
			return err
		}
	}
	return tab.primary.Delete(k)
}

// seek returns the value at k, not nil, or nil.
func seek(c *bbolt.Cursor, k []byte) []byte {
	found, v := c.Seek(k)
	if !bytes.Equal(found, k) {
		return nil
	}
	if v == nil {
		v = []byte{}
	}
	return v
}

// places checks that each row has a place of its own where bytes are, and that no others are there.
type places struct {
	table string
	bytes *bbolt.Bucket
	at    *bbolt.Cursor
	rows  int
	seen  map[uint64]uint64 // a bit for each place, 64 to an entry: places are dense
}

func newPlaces(tx *bbolt.Tx, s *store.Schema) *places {
	p := &places{table: s.Name, bytes: tx.Bucket([]byte("bytes/" + s.Name)), seen: map[uint64]uint64{}}
	if p.bytes != nil {
		p.at = p.bytes.Cursor()
	}
	return p
}

func (p *places) row(k, v []byte, f *faults) (enough bool) {
	p.rows++
	if p.bytes == nil || len(v) != 8 || seek(p.at, v) == nil {
		return f.add("%s: the row at %x has no bytes at its place %x", p.table, k, v)
	}
	n := binary.BigEndian.Uint64(v)
	bit := uint64(1) << (n % 64)
	if p.seen[n/64]&bit != 0 {
		return f.add("%s: the row at %x shares its place %x", p.table, k, v)
	}
	p.seen[n/64] |= bit
	return false
}

func (p *places) end(f *faults) {
	if p.bytes == nil {
		return
	}
	// Every row's place was found, so more places than rows belong to none.
	if have := p.bytes.Stats().KeyN; have != p.rows {
		f.add("%s: %d rows have their bytes at %d places", p.table, p.rows, have)
	}
	if last, _ := p.bytes.Cursor().Last(); len(last) == 8 && binary.BigEndian.Uint64(last) > p.bytes.Sequence() {
		f.add("%s: place %x would be given again", p.table, last)
	}
}
