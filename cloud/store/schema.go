package store

import (
	"fmt"
	"strings"
)

// Declared is a table as an engine's Open takes it.
type Declared interface{ Schema() *Schema }

// Schema is what an engine knows of a table. Its functions take the pointer that Put was given (*T, or
// *Block) and have no effects.
type Schema struct {
	Name    string
	Key     Columns
	Indexes []SchemaIndex
	Bytes   bool // the document is a block of bytes, kept as it came
	Series  int  // leading columns of Key that name a series of blocks, see BlockSpec

	KeyOf  func(v any) Key
	Decode func(c Codec, key Key, doc []byte) (any, error) // key is only used when Bytes
}

// SchemaIndex is one index of a Schema. Exactly one of One and Many is set.
type SchemaIndex struct {
	Name string
	On   Columns
	One  func(v any) Key // nil: not indexed
	Many func(v any) []Key
}

// Index returns the place of the named index in Indexes, or -1 for "", the primary key.
func (s *Schema) Index(name string) (int, error) {
	if name == "" {
		return -1, nil
	}
	for i := range s.Indexes {
		if s.Indexes[i].Name == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: table %s has no index %q", ErrInvalid, s.Name, name)
}

// Order returns the columns that order a scan: those of the index and then the primary key.
func (s *Schema) Order(index int) Columns {
	if index < 0 {
		return s.Key
	}
	on := s.Indexes[index].On
	return append(on[:len(on):len(on)], s.Key...)
}

// Keys appends the keys under which v stands in index i.
func (s *Schema) Keys(dst []Key, i int, v any) []Key {
	ix := &s.Indexes[i]
	if ix.Many != nil {
		return append(dst, ix.Many(v)...)
	}
	if k := ix.One(v); k != nil {
		dst = append(dst, k)
	}
	return dst
}

// Check refuses tables that clash or are malformed. Engines call it once at Open.
func Check(tables []Declared) error {
	names := map[string]bool{}
	for _, d := range tables {
		s := d.Schema()
		if names[s.Name] {
			return fmt.Errorf("%w: table %s is declared twice", ErrSchema, s.Name)
		}
		names[s.Name] = true
		if err := s.check(); err != nil {
			return fmt.Errorf("%w: table %s: %w", ErrSchema, s.Name, err)
		}
	}
	return nil
}

func (s *Schema) check() error {
	if err := checkName(s.Name); err != nil {
		return err
	}
	if len(s.Key) == 0 || s.KeyOf == nil {
		return fmt.Errorf("no key")
	}
	if s.Series < 0 || s.Series >= len(s.Key) || s.Series > 0 && (!s.Bytes || len(s.Indexes) > 0) {
		return fmt.Errorf("series of %d columns: want fewer than the key has, of blocks without indexes", s.Series)
	}
	kinds := map[string]Kind{}
	own := map[string]bool{}
	for _, c := range s.Key {
		if own[c.Name] {
			return fmt.Errorf("column %s twice in the key", c.Name)
		}
		own[c.Name] = true
	}
	seen := map[string]bool{}
	for i := range s.Indexes {
		ix := &s.Indexes[i]
		if err := checkName(ix.Name); err != nil {
			return err
		}
		if seen[ix.Name] {
			return fmt.Errorf("index %s is declared twice", ix.Name)
		}
		seen[ix.Name] = true
		if len(ix.On) == 0 || (ix.One == nil) == (ix.Many == nil) {
			return fmt.Errorf("index %s wants columns and exactly one of Of and Each", ix.Name)
		}
	}
	for i := -1; i < len(s.Indexes); i++ {
		for _, c := range s.Order(i) {
			if err := checkName(c.Name); err != nil {
				return err
			}
			if k, ok := kinds[c.Name]; ok && k != c.Kind {
				return fmt.Errorf("column %s is both %s and %s", c.Name, k, c.Kind)
			}
			kinds[c.Name] = c.Kind
		}
	}
	return nil
}

func checkName(n string) error {
	ok := n != "" && len(n) <= 40 && n[0] >= 'a' && n[0] <= 'z' &&
		strings.Trim(n, "abcdefghijklmnopqrstuvwxyz0123456789_") == ""
	if !ok || n == "tenant" || n == "doc" || n == "block" {
		return fmt.Errorf("name %q: want up to 40 of a-z, 0-9 and _, starting with a letter, and not tenant, doc or block", n)
	}
	return nil
}
