package bolt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
)

// format is the version of the file's layout.
const format = "3"

// before is the last layout that is one of today's: no table had series.
const before = "2"

var (
	metaBucket  = []byte("meta")
	formatKey   = []byte("format")
	jobsBucket  = []byte("jobs")
	readyBucket = []byte("jobs/ready")
	deadBucket  = []byte("jobs/dead")
)

// shape is what the file remembers of a table's declaration.
type shape struct {
	Key     []column            `json:"key"`
	Indexes map[string][]column `json:"indexes"`
	Bytes   bool                `json:"bytes,omitempty"`
	Series  int                 `json:"series,omitempty"`
}

type column struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
}

func columnsOf(cols store.Columns) []column {
	out := make([]column, len(cols))
	for i, c := range cols {
		out[i] = column{c.Name, c.Kind.String()}
	}
	return out
}

// migrate brings the file to the declared tables. An index that the file does not know, or knows over
// other columns, is built; one that is no longer declared is dropped. A table's key cannot change. What a
// function of a declaration computes is not remembered: when it changes, give the index a new name.
func (db *DB) migrate() error {
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{metaBucket, jobsBucket, readyBucket, deadBucket} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		switch have := meta.Get(formatKey); {
		case have == nil, string(have) == before:
			return meta.Put(formatKey, []byte(format))
		case string(have) != format:
			return fmt.Errorf("%w: file has format %q, this program knows %q", store.ErrSchema, have, format)
		}
		return nil
	})
	if err != nil {
		return diskError(err)
	}
	for i := range db.names {
		if err := db.migrateTable(&db.names[i]); err != nil {
			return fmt.Errorf("table %s: %w", db.names[i].schema.Name, diskError(err))
		}
	}
	return diskError(db.releaseLeases())
}

func (db *DB) migrateTable(n *tableNames) error {
	s := n.schema
	want := shape{Key: columnsOf(s.Key), Indexes: map[string][]column{}, Bytes: s.Bytes, Series: s.Series}
	for _, ix := range s.Indexes {
		want.Indexes[ix.Name] = columnsOf(ix.On)
	}
	var build []int
	err := db.bolt.Update(func(tx *bbolt.Tx) error {
		var have shape
		known := tx.Bucket(metaBucket).Get(n.primary)
		if known != nil {
			if err := json.Unmarshal(known, &have); err != nil {
				return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
			}
			if !slices.Equal(have.Key, want.Key) || have.Bytes != want.Bytes {
				return fmt.Errorf("%w: the file has key %v, declared is %v", store.ErrSchema, have.Key, want.Key)
			}
			if have.Series != 0 && have.Series != want.Series {
				return fmt.Errorf("%w: the file has series of %d columns, declared are %d", store.ErrSchema, have.Series, want.Series)
			}
		}
		if _, err := tx.CreateBucketIfNotExists(n.primary); err != nil {
			return err
		}
		if n.bytes != nil {
			if _, err := tx.CreateBucketIfNotExists(n.bytes); err != nil {
				return err
			}
		}
		if n.recent != nil {
			if _, err := tx.CreateBucketIfNotExists(n.recent); err != nil {
				return err
			}
		}
		for name := range have.Indexes {
			if _, ok := want.Indexes[name]; !ok {
				if err := tx.DeleteBucket([]byte("index/" + s.Name + "/" + name)); err != nil {
					return err
				}
				delete(have.Indexes, name)
				db.log.Info("store index dropped", "table", s.Name, "index", name)
			}
		}
		for i, ix := range s.Indexes {
			if slices.Equal(have.Indexes[ix.Name], want.Indexes[ix.Name]) {
				continue
			}
			// Whatever a crash in the middle of an earlier attempt has left goes first.
			if tx.Bucket(n.indexes[i]) != nil {
				if err := tx.DeleteBucket(n.indexes[i]); err != nil {
					return err
				}
			}
			if _, err := tx.CreateBucket(n.indexes[i]); err != nil {
				return err
			}
			delete(have.Indexes, ix.Name)
			build = append(build, i)
		}
		if len(build) > 0 && known != nil {
			return putShape(tx, n.primary, have) // without the indexes that are being built
		}
		build = nil
		return putShape(tx, n.primary, want)
	})
	if err != nil || len(build) == 0 {
		return err
	}
	if err := db.buildIndexes(n, build); err != nil {
		return err
	}
	return db.bolt.Update(func(tx *bbolt.Tx) error { return putShape(tx, n.primary, want) })
}

func putShape(tx *bbolt.Tx, name []byte, s shape) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return tx.Bucket(metaBucket).Put(name, b)
}

// buildRows is how many rows are indexed in one commit, which bounds memory.
const buildRows = 10_000

func (db *DB) buildIndexes(n *tableNames, build []int) error {
	s := n.schema
	var last []byte
	for more, rows := true, 0; more; {
		err := db.bolt.Update(func(tx *bbolt.Tx) error {
			c := tx.Bucket(n.primary).Cursor()
			k, doc := c.Seek(last)
			if last != nil && bytes.Equal(k, last) {
				k, doc = c.Next()
			}
			for i := 0; k != nil && i < buildRows; i++ {
				tenant, pk, _ := bytes.Cut(k, []byte{0})
				key, _, err := store.CutKey(pk, s.Key)
				if err != nil {
					return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
				}
				v, err := s.Decode(store.CBOR, key, doc)
				if err != nil {
					return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
				}
				for _, j := range build {
					for _, key := range s.Keys(nil, j, v) {
						e, err := store.AppendKey(append(bytes.Clone(tenant), 0), s.Indexes[j].On, key)
						if err != nil {
							return err
						}
						if err := tx.Bucket(n.indexes[j]).Put(append(e, pk...), nil); err != nil {
							return err
						}
					}
				}
				rows++
				last = append(last[:0], k...)
				k, doc = c.Next()
			}
			more = k != nil
			return nil
		})
		if err != nil {
			return err
		}
		if !more {
			db.log.Info("store indexes built", "table", s.Name, "indexes", len(build), "rows", rows)
		}
	}
	return nil
}
