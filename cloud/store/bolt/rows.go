package bolt

import (
	"bytes"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/hearthline/hearthline/cloud/store"
)

// session is one bbolt transaction, shared by the requests of a group.
type session struct {
	db     *DB
	tx     *bbolt.Tx
	tables *openTable  // those opened so far, the newest first: few of many
	writes int         // changes so far; a scan looks at it to see whether its cursor is still good
	key    []byte      // scratch, at first in room
	keys   []store.Key // scratch
	room   [keyRoom]byte
	values *arena // what is written, until the commit; nil when nothing is
}

// keyRoom is what most keys fit into, so that making one allocates once or not at all.
const keyRoom = 64

// openTable is a table's buckets, each opened when it is first needed: that is a search of its own.
type openTable struct {
	next    *openTable
	tx      *bbolt.Tx
	names   *tableNames
	primary *bbolt.Bucket
	get     *bbolt.Cursor // for point reads: reusing it saves an allocation each
	values  *arena
	bytes   *bbolt.Bucket // of a table of blocks, else nil
	at      *bbolt.Cursor // for reads of bytes
	recent  *bbolt.Bucket // of a table with series, else nil
	last    *bbolt.Cursor // for reads of recent
	indexes []*bbolt.Bucket
}

func (tab *openTable) index(i int) *bbolt.Bucket {
	if tab.indexes == nil {
		tab.indexes = make([]*bbolt.Bucket, len(tab.names.indexes))
	}
	if tab.indexes[i] == nil {
		tab.indexes[i] = tab.tx.Bucket(tab.names.indexes[i])
	}
	return tab.indexes[i]
}

func (db *DB) begin(writable bool) (*session, error) {
	tx, err := db.bolt.Begin(writable)
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return nil, store.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	s := &session{db: db, tx: tx}
	if writable { // of which there is one at a time
		s.values = &db.values
		s.values.reset()
	}
	s.key = s.room[:0]
	return s, nil
}

// fillBlocks is how full a page of blocks, or of their keys, is left behind when it is split. Blocks come in
// the order of their keys, device by device, so that what lies behind the newest of a device gets no more;
// bbolt's own half would leave the file half empty.
const fillBlocks = 1.0

func (s *session) open(schema *store.Schema) (*openTable, error) {
	for t := s.tables; t != nil; t = t.next {
		if t.names.schema == schema {
			return t, nil
		}
	}
	i, ok := s.db.tables[schema]
	if !ok {
		return nil, fmt.Errorf("%w: %s", store.ErrUnknownTable, schema.Name)
	}
	names := &s.db.names[i]
	primary := s.tx.Bucket(names.primary)
	t := &openTable{next: s.tables, tx: s.tx, names: names, primary: primary, get: primary.Cursor(), values: s.values}
	if names.bytes != nil {
		t.bytes = s.tx.Bucket(names.bytes)
		primary.FillPercent, t.bytes.FillPercent = fillBlocks, fillBlocks
	}
	if names.recent != nil {
		t.recent = s.tx.Bucket(names.recent)
		t.last = t.recent.Cursor()
	}
	s.tables = t
	return t, nil
}

// txn is one request's view of a session: the session within one tenant.
type txn struct {
	*session
	tenant string
	ended  bool
}

var errEnded = fmt.Errorf("%w: transaction used after its function returned", store.ErrInvalid)

func (t *txn) end()               { t.ended = true }
func (t *txn) Tenant() string     { return t.tenant }
func (t *txn) Rows() store.Rows   { return t }
func (t *txn) Codec() store.Codec { return store.CBOR }

// rowKey writes tenant and whole key into the scratch.
func (t *txn) rowKey(cols store.Columns, key store.Key) ([]byte, error) {
	if len(key) != len(cols) {
		return nil, fmt.Errorf("%w: key of %d parts for %d columns", store.ErrInvalid, len(key), len(cols))
	}
	k, err := store.AppendKey(t.start(), cols, key)
	t.key = k
	return k, err
}

func (t *txn) table(s *store.Schema) (*openTable, error) {
	if t.ended {
		return nil, errEnded
	}
	return t.session.open(s)
}

// Room implements store.Rows.
func (t *txn) Room(n int) []byte {
	if t.ended { // the memory is another transaction's
		return make([]byte, 0, n)
	}
	return t.values.room(n)
}

func (t *txn) start() []byte { return append(append(t.key[:0], t.tenant...), 0) }

func (t *txn) Get(s *store.Schema, key store.Key) ([]byte, error) {
	tab, err := t.table(s)
	if err != nil {
		return nil, err
	}
	k, err := t.rowKey(s.Key, key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	v, err := tab.lookup(k)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	}
	if v == nil {
		return nil, fmt.Errorf("%s: %w", s.Name, store.ErrNotFound)
	}
	return tab.doc(v)
}

// lookup returns the value at k, or nil when there is none.
func (tab *openTable) lookup(k []byte) ([]byte, error) {
	if tab.recent != nil {
		if place, err := tab.lookupRecent(k); place != nil || err != nil {
			return place, err
		}
	}
	return seek(tab.get, k), nil
}

func (t *txn) Put(s *store.Schema, v any, doc []byte, insert bool) error {
	tab, err := t.table(s)
	if err != nil {
		return err
	}
	if !t.tx.Writable() {
		return store.ErrReadOnly
	}
	key := s.KeyOf(v)
	k, err := t.rowKey(s.Key, key)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	var old []byte
	if insert || s.Bytes || len(s.Indexes) > 0 { // else nobody asks what was there
		if old, err = tab.lookup(k); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	if old != nil && insert {
		return fmt.Errorf("%s: %w", s.Name, store.ErrExists)
	}
	if len(s.Indexes) == 0 {
		t.writes++
		return tab.put(k, old, doc)
	}
	row := bytes.Clone(k) // the scratch goes on to hold index keys
	var was any
	if old != nil {
		if was, err = s.Decode(t.Codec(), key, old); err != nil {
			return fmt.Errorf("%w: decode %s: %w", store.ErrCorrupt, s.Name, err)
		}
	}
	// All keys are checked before anything is written.
	plan, err := t.plan(s, row[len(t.tenant)+1:], was, v)
	if err != nil {
		return err
	}
	t.writes++
	if err := tab.put(row, old, doc); err != nil {
		return err
	}
	return plan.apply(tab)
}

func (t *txn) Delete(s *store.Schema, key store.Key) error {
	tab, err := t.table(s)
	if err != nil {
		return err
	}
	if !t.tx.Writable() {
		return store.ErrReadOnly
	}
	k, err := t.rowKey(s.Key, key)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	old, err := tab.lookup(k)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Name, err)
	}
	if old == nil {
		return fmt.Errorf("%s: %w", s.Name, store.ErrNotFound)
	}
	if len(s.Indexes) == 0 {
		t.writes++
		return tab.delete(k, old)
	}
	row := bytes.Clone(k)
	was, err := s.Decode(t.Codec(), key, old)
	if err != nil {
		return fmt.Errorf("%w: decode %s: %w", store.ErrCorrupt, s.Name, err)
	}
	plan, err := t.plan(s, row[len(t.tenant)+1:], was, nil)
	if err != nil {
		return err
	}
	t.writes++
	if err := tab.delete(row, old); err != nil {
		return err
	}
	return plan.apply(tab)
}

// indexPlan is what a write changes in the indexes of a table.
type indexPlan []indexChange

type indexChange struct {
	index int
	key   []byte
	put   bool
	stays bool // was there before: no change, but it must be remembered, for a key may be repeated
}

// plan works out the index rows that change when a row goes from was to now; either may be nil.
func (t *txn) plan(s *store.Schema, pk []byte, was, now any) (indexPlan, error) {
	var plan indexPlan
	for i := range s.Indexes {
		from := len(plan)
		for _, side := range [2]struct {
			v   any
			put bool
		}{{now, true}, {was, false}} {
			if side.v == nil {
				continue
			}
			t.keys = s.Keys(t.keys[:0], i, side.v)
		next:
			for _, key := range t.keys {
				if len(key) != len(s.Indexes[i].On) {
					return nil, fmt.Errorf("%s.%s: %w: key of %d parts for %d columns", s.Name, s.Indexes[i].Name, store.ErrInvalid, len(key), len(s.Indexes[i].On))
				}
				k, err := store.AppendKey(t.start(), s.Indexes[i].On, key)
				t.key = k
				if err != nil {
					return nil, fmt.Errorf("%s.%s: %w", s.Name, s.Indexes[i].Name, err)
				}
				k = append(k, pk...)
				t.key = k
				for j := from; j < len(plan); j++ {
					if !bytes.Equal(plan[j].key, k) {
						continue
					}
					plan[j].stays = plan[j].put && !side.put || plan[j].stays
					continue next
				}
				plan = append(plan, indexChange{index: i, key: bytes.Clone(k), put: side.put})
			}
		}
	}
	return plan, nil
}

func (p indexPlan) apply(tab *openTable) error {
	for _, c := range p {
		var err error
		switch {
		case c.stays:
		case c.put:
			err = tab.index(c.index).Put(c.key, nil)
		default:
			err = tab.index(c.index).Delete(c.key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
