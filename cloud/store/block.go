package store

import (
	"fmt"
	"iter"
)

// BlockSpec declares a table of blocks of bytes, such as telemetry as it came from a device. Everything
// that is asked for without opening the block is a column of the key.
type BlockSpec struct {
	Key     Columns
	Indexes []BlockIndex

	// Series is how many leading columns of the key name a series, such as a device, whose blocks come
	// mostly in the order of the other columns; 0: there are none. It changes nothing that can be seen: an
	// engine may keep the newest of all series side by side, so that a commit that brings one of each does
	// not have to touch the end of each. Such a table has no indexes.
	Series int
}

// BlockIndex is one more order of blocks, over columns of the key.
type BlockIndex struct {
	Name string
	On   []string
}

// Blocks is a table of blocks of bytes.
type Blocks struct{ s Schema }

// Block is one block with its whole key.
type Block struct {
	Key   Key
	Bytes []byte
}

// NewBlocks declares a table of blocks. It panics when an index names a column that is not in the key.
func NewBlocks(name string, spec BlockSpec) *Blocks {
	b := &Blocks{Schema{
		Name:   name,
		Key:    spec.Key,
		Bytes:  true,
		Series: spec.Series,
		KeyOf:  func(v any) Key { return v.(*Block).Key },
		Decode: func(_ Codec, key Key, doc []byte) (any, error) {
			return &Block{key, doc}, nil
		},
	}}
	for _, ix := range spec.Indexes {
		six := SchemaIndex{Name: ix.Name}
		var at []int
		for _, col := range ix.On {
			for i, c := range spec.Key {
				if c.Name == col {
					six.On = append(six.On, c)
					at = append(at, i)
				}
			}
		}
		if len(at) != len(ix.On) {
			panic(fmt.Sprintf("store: blocks %s: index %s is not over columns of the key", name, ix.Name))
		}
		six.One = func(v any) Key {
			key := v.(*Block).Key
			k := make(Key, len(at))
			for i, a := range at {
				if a < len(key) { // a key that is too short is refused before its index rows are written
					k[i] = key[a]
				}
			}
			return k
		}
		b.s.Indexes = append(b.s.Indexes, six)
	}
	return b
}

// Schema returns the declaration as engines see it.
func (b *Blocks) Schema() *Schema { return &b.s }

// Get returns a copy of the block with this whole key, or ErrNotFound.
func (b *Blocks) Get(tx Tx, key ...any) ([]byte, error) {
	doc, err := tx.Rows().Get(&b.s, key)
	if err != nil {
		return nil, err
	}
	return append([]byte{}, doc...), nil
}

// Put writes a block, replacing one with the same key. The caller leaves data alone until the transaction
// has ended.
func (b *Blocks) Put(tx Tx, data []byte, key ...any) error {
	return tx.Rows().Put(&b.s, &Block{key, data}, data, false)
}

// Room returns an empty slice with room for n bytes, for a block that is put in this transaction. It is the
// engine's again when the transaction ends, which may use the same memory for the next one.
func (b *Blocks) Room(tx Tx, n int) []byte { return tx.Rows().Room(n) }

// Insert is Put that returns ErrExists when a block with this key is there.
func (b *Blocks) Insert(tx Tx, data []byte, key ...any) error {
	return tx.Rows().Put(&b.s, &Block{key, data}, data, true)
}

// Delete removes the block with this whole key, or returns ErrNotFound.
func (b *Blocks) Delete(tx Tx, key ...any) error { return tx.Rows().Delete(&b.s, key) }

// Scan goes through a range in order, like Table.Scan. A block's Bytes are valid until the next turn of
// the loop; copy what outlives it.
func (b *Blocks) Scan(tx Tx, r Range) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		if err := scanKeyed(tx, &b.s, r, func(key Key, doc []byte) bool { return yield(Block{key, doc}, nil) }); err != nil {
			yield(Block{}, err)
		}
	}
}

// Keys is Scan for who needs no more than the keys: the bytes are not read.
func (b *Blocks) Keys(tx Tx, r Range) iter.Seq2[Key, error] { return keys(tx, &b.s, r) }
