package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/hearthline/hearthline/cloud/store"
)

// maxFaults is how many faults a check names before it stops.
const maxFaults = 10

// faults collects what a check finds.
type faults []error

func (f *faults) add(format string, args ...any) (enough bool) {
	*f = append(*f, fmt.Errorf(format, args...))
	return len(*f) >= maxFaults
}

func (f faults) err() error {
	if len(f) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", store.ErrCorrupt, errors.Join(f...))
}

// check goes through a snapshot. bbolt panics on a page that makes no sense; that is a fault like another.
func check(ctx context.Context, tx *bbolt.Tx, tables []store.Declared) (err error) {
	var f faults
	defer func() {
		if p := recover(); p != nil {
			f.add("reading the file: %v", p)
			err = f.err()
		}
	}()
	pages := tx.Check()
	for perr := range pages {
		if f.add("page: %w", perr) {
			break
		}
	}
	for range pages { // bbolt checks in a goroutine that must be heard to its end
	}
	if len(f) > 0 {
		return f.err() // what hangs on broken pages is not worth reading
	}
	meta := tx.Bucket(metaBucket)
	if meta == nil || !slices.Contains([]string{format, before}, string(meta.Get(formatKey))) {
		f.add("not a store of format %s or %s", format, before)
		return f.err()
	}
	for _, d := range tables {
		if err := checkTable(ctx, tx, d.Schema(), &f); err != nil {
			return err
		}
		if len(f) >= maxFaults {
			return f.err()
		}
	}
	checkJobs(tx, &f)
	return f.err()
}

func checkTable(ctx context.Context, tx *bbolt.Tx, s *store.Schema, f *faults) error {
	primary := tx.Bucket([]byte("table/" + s.Name))
	if primary == nil {
		return nil // declared after the file was last opened
	}
	indexes := make([]*bbolt.Bucket, len(s.Indexes))
	want := make([]int, len(s.Indexes)) // rows that an index should have
	for i := range indexes {
		indexes[i] = tx.Bucket([]byte("index/" + s.Name + "/" + s.Indexes[i].Name))
	}
	var at *places
	if s.Bytes {
		at = newPlaces(tx, s)
	}
	all := merge{settled: walk{c: primary.Cursor()}}
	if s.Series > 0 {
		if recent := tx.Bucket([]byte("recent/" + s.Name)); recent != nil {
			all.recent = &recentWalk{series: walk{c: recent.Cursor()}}
		}
	}
	n := 0
	var last []byte
	for k, doc := all.seek(span{}); k != nil; k, doc = all.next() {
		if bytes.Compare(k, last) <= 0 && f.add("%s: the row at %x stands behind that at %x", s.Name, k, last) {
			return nil
		}
		last = append(last[:0], k...)
		if n++; n%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		tenant, pk, ok := bytes.Cut(k, []byte{0})
		key, rest, err := store.CutKey(pk, s.Key)
		if !ok || err != nil || len(rest) > 0 || store.CheckTenant(string(tenant)) != nil {
			if f.add("%s: key %x makes no sense", s.Name, k) {
				return nil
			}
			continue
		}
		if s.Bytes && at.row(k, doc, f) {
			return nil
		}
		v, err := s.Decode(store.CBOR, key, doc)
		if err != nil {
			if f.add("%s: document at %x: %w", s.Name, k, err) {
				return nil
			}
			continue
		}
		for i := range indexes {
			if indexes[i] == nil {
				continue
			}
			seen := map[string]bool{}
			for _, key := range s.Keys(nil, i, v) {
				e, err := store.AppendKey(append(bytes.Clone(tenant), 0), s.Indexes[i].On, key)
				if err != nil {
					continue // was never written
				}
				e = append(e, pk...)
				if seen[string(e)] {
					continue
				}
				seen[string(e)] = true
				want[i]++
				if at, _ := indexes[i].Cursor().Seek(e); !bytes.Equal(at, e) {
					if f.add("%s: the row at %x is not in index %s", s.Name, k, s.Indexes[i].Name) {
						return nil
					}
				}
			}
		}
	}
	if err := all.err(); err != nil {
		f.add("%s: %w", s.Name, err)
	}
	if s.Bytes {
		at.end(f)
	}
	for i, b := range indexes {
		if b == nil {
			continue
		}
		// Every row's places were found, so more places than that belong to no row.
		if have := b.Stats().KeyN; have != want[i] {
			f.add("%s: index %s has %d entries, its rows have %d", s.Name, s.Indexes[i].Name, have, want[i])
		}
	}
	return nil
}

func checkJobs(tx *bbolt.Tx, f *faults) {
	jobs, ready, dead := tx.Bucket(jobsBucket), tx.Bucket(readyBucket), tx.Bucket(deadBucket)
	if jobs == nil || ready == nil || dead == nil {
		f.add("the jobs are missing")
		return
	}
	t := txn{session: &session{tx: tx}}
	n := 0
	c := jobs.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
		key, _, err := store.CutKey(k, jobCols)
		if err != nil {
			f.add("job key %x: %w", k, err)
			return
		}
		tenant, queue, id := key[0].(string), key[1].(string), key[2].(string)
		r, _, err := t.loadJob(tenant, queue, id)
		if err != nil {
			f.add("%w", err)
			return
		}
		bucket, place := r.place(tenant, queue, id)
		if at, _ := tx.Bucket(bucket).Cursor().Seek(place); !bytes.Equal(at, place) {
			if f.add("job %s/%s of %s stands nowhere", queue, id, tenant) {
				return
			}
		}
	}
	if have := ready.Stats().KeyN + dead.Stats().KeyN; have != n {
		f.add("%d jobs stand in %d places", n, have)
	}
}
