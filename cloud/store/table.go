package store

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"reflect"
)

// Spec declares a table of documents of type T. Key, KeyOf and every Index are functions of the document
// alone, so a change of them is a migration (see the engines).
type Spec[T any] struct {
	Key     Columns
	KeyOf   func(*T) Key
	Indexes []Index[T]
}

// Index declares one more order of a table. Give exactly one of Of and Each.
type Index[T any] struct {
	Name string
	On   Columns
	Of   func(*T) Key   // the document's one place in this order; nil leaves it out
	Each func(*T) []Key // its many places, such as every phone number of a customer; repeated ones count once
}

// Table is a collection of documents of type T. It holds no data, only the declaration.
//
// Documents are written with encoding/json or CBOR by their json struct tags, and come back equal from
// both: no interface fields, times in UTC, no text with NUL or invalid UTF-8, no NaN.
type Table[T any] struct{ s Schema }

// NewTable declares a table. Name is a plural noun and becomes the SQL name. It panics when T holds an
// interface, which no document can.
func NewTable[T any](name string, spec Spec[T]) *Table[T] {
	if err := checkDocType(reflect.TypeFor[T]()); err != nil {
		panic(fmt.Sprintf("store: table %s: %v", name, err))
	}
	t := &Table[T]{Schema{
		Name:  name,
		Key:   spec.Key,
		KeyOf: func(v any) Key { return spec.KeyOf(v.(*T)) },
		Decode: func(c Codec, _ Key, doc []byte) (any, error) {
			v := new(T)
			return v, c.Unmarshal(doc, v)
		},
	}}
	for _, ix := range spec.Indexes {
		six := SchemaIndex{Name: ix.Name, On: ix.On}
		if of := ix.Of; of != nil {
			six.One = func(v any) Key { return of(v.(*T)) }
		}
		if each := ix.Each; each != nil {
			six.Many = func(v any) []Key { return each(v.(*T)) }
		}
		t.s.Indexes = append(t.s.Indexes, six)
	}
	return t
}

// Schema returns the declaration as engines see it.
func (t *Table[T]) Schema() *Schema { return &t.s }

// Get returns the document with this whole key, or ErrNotFound.
func (t *Table[T]) Get(tx Tx, key ...any) (T, error) {
	var v T
	doc, err := tx.Rows().Get(&t.s, key)
	if err == nil {
		err = t.decode(tx, doc, &v)
	}
	return v, err
}

// Has tells whether there is a document with this whole key.
func (t *Table[T]) Has(tx Tx, key ...any) (bool, error) {
	_, err := tx.Rows().Get(&t.s, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Put writes v, replacing a document with the same key.
func (t *Table[T]) Put(tx Tx, v *T) error { return t.put(tx, v, false) }

// Insert writes v, or returns ErrExists and writes nothing when a document with its key is there.
func (t *Table[T]) Insert(tx Tx, v *T) error { return t.put(tx, v, true) }

func (t *Table[T]) put(tx Tx, v *T, insert bool) error {
	rows := tx.Rows()
	doc, err := rows.Codec().Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: encode %s: %w", ErrInvalid, t.s.Name, err)
	}
	return rows.Put(&t.s, v, doc, insert)
}

// Delete removes the document with this whole key, or returns ErrNotFound.
func (t *Table[T]) Delete(tx Tx, key ...any) error { return tx.Rows().Delete(&t.s, key) }

// Scan goes through a range in order. The loop may write and may stop early; what it writes into the
// range ahead may or may not be met. Under an index with Each, a document that stands several times in
// the range is met several times.
//
//	for t, err := range tickets.Scan(tx, store.Range{Index: "by_due", Prefix: store.Key{"open"}, To: now}) {
func (t *Table[T]) Scan(tx Tx, r Range) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var bad error
		err := tx.Rows().Scan(&t.s, r, func(_, doc []byte) bool {
			var v T
			if bad = t.decode(tx, doc, &v); bad != nil {
				return false
			}
			return yield(v, nil)
		})
		if err = errors.Join(bad, err); err != nil {
			var zero T
			yield(zero, err)
		}
	}
}

// Keys is Scan for who needs no more than the primary keys: the documents are not read.
func (t *Table[T]) Keys(tx Tx, r Range) iter.Seq2[Key, error] { return keys(tx, &t.s, r) }

// Page returns up to r.Limit documents (50 when it is 0) and the cursor for the next page, "" at the end.
func (t *Table[T]) Page(tx Tx, r Range) (page []T, next Cursor, err error) {
	limit := r.Limit
	if limit <= 0 {
		limit = 50
	}
	r.Limit = limit + 1 // one more tells whether there is a next page
	page = make([]T, 0, min(limit, 256))
	var last []byte
	var bad error
	err = tx.Rows().Scan(&t.s, r, func(pos, doc []byte) bool {
		if len(page) == limit {
			next = makeCursor(last)
			return false
		}
		page = append(page, *new(T))
		if bad = t.decode(tx, doc, &page[len(page)-1]); bad != nil {
			return false
		}
		last = append(last[:0], pos...)
		return true
	})
	if err = errors.Join(bad, err); err != nil {
		return nil, "", err
	}
	return page, next, nil
}

func (t *Table[T]) decode(tx Tx, doc []byte, v *T) error {
	if err := tx.Rows().Codec().Unmarshal(doc, v); err != nil {
		return fmt.Errorf("%w: decode %s: %w", ErrCorrupt, t.s.Name, err)
	}
	return nil
}

// Range says which rows to scan, and in which order. The zero Range is the whole table by primary key.
type Range struct {
	Index   string // an index of the table; "" is the primary key
	Prefix  Key    // leading columns that must equal these
	From    any    // the column after Prefix is >= From; nil: no lower bound
	To      any    // the column after Prefix is < To; nil: no upper bound
	Reverse bool   // last to first, within the same bounds
	Limit   int    // at most so many rows; 0: no limit
	After   Cursor // begin behind the last row of an earlier page of the same range

	keysOnly bool
}

// KeysOnly tells an engine that no documents are asked for: Scan may yield nil instead.
func (r Range) KeysOnly() bool { return r.keysOnly }

// keys goes through the primary keys of a range.
func keys(tx Tx, s *Schema, r Range) iter.Seq2[Key, error] {
	return func(yield func(Key, error) bool) {
		r.keysOnly = true
		if err := scanKeyed(tx, s, r, func(key Key, _ []byte) bool { return yield(key, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// scanKeyed calls yield with the primary key of each row in the range, and its document.
func scanKeyed(tx Tx, s *Schema, r Range, yield func(key Key, doc []byte) bool) error {
	ix, err := s.Index(r.Index)
	if err != nil {
		return err
	}
	order := s.Order(ix)
	before := order[:len(order)-len(s.Key)]
	var bad error
	err = tx.Rows().Scan(s, r, func(pos, doc []byte) bool {
		var key Key
		key, _, bad = CutKey(SkipKey(pos, before), s.Key)
		return bad == nil && yield(key, doc)
	})
	return errors.Join(bad, err)
}

// Cursor is a place in a range, opaque, safe in a URL, and the same on every engine. It names no tenant:
// a cursor of another tenant is only a place in one's own rows.
type Cursor string

func makeCursor(pos []byte) Cursor { return Cursor(base64.RawURLEncoding.EncodeToString(pos)) }

// Pos returns the key a cursor stands for, checked against the columns of its range; nil for "".
func (c Cursor) Pos(order Columns) ([]byte, error) {
	if c == "" {
		return nil, nil
	}
	pos, err := base64.RawURLEncoding.DecodeString(string(c))
	if err != nil {
		return nil, fmt.Errorf("%w: cursor", ErrInvalid)
	}
	key, rest, err := CutKey(pos, order)
	if err == nil {
		_, err = Values(order, key)
	}
	if err != nil || len(rest) != 0 {
		return nil, fmt.Errorf("%w: cursor", ErrInvalid)
	}
	return pos, nil
}
