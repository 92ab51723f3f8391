package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hearthline/hearthline/cloud/store"
)

// Recordings is a table of blocks that come in series.
var Recordings = store.NewBlocks("recordings", store.BlockSpec{
	Key:    store.Columns{store.Text("home"), store.Text("device"), store.Int("n"), store.Int("part")},
	Series: 2,
})

// recordings is what the table should hold, by a text of the key.
type recordings map[string]store.Block

func (m recordings) scan(r store.Range) (out []store.Block) {
	for _, b := range m {
		at := len(r.Prefix)
		ok := r.From == nil || compareParts(b.Key[min(at, 3)], r.From) >= 0
		ok = ok && (r.To == nil || compareParts(b.Key[min(at, 3)], r.To) < 0)
		for i, p := range r.Prefix {
			ok = ok && compareParts(b.Key[i], p) == 0
		}
		if ok {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b store.Block) int {
		for i := range a.Key {
			if c := compareParts(a.Key[i], b.Key[i]); c != 0 {
				if r.Reverse {
					return -c
				}
				return c
			}
		}
		return 0
	})
	if r.Limit > 0 && len(out) > r.Limit {
		out = out[:r.Limit]
	}
	return out
}

var (
	genSeries  = rapid.SampledFrom([]string{"", "a", "a!", "aa", "é"})
	genPlace   = rapid.Int64Range(0, 40)
	genPart    = rapid.Int64Range(-1, 0)
	genKeyPart = []func(t *rapid.T) any{
		func(t *rapid.T) any { return genSeries.Draw(t, "home") },
		func(t *rapid.T) any { return genSeries.Draw(t, "device") },
		func(t *rapid.T) any { return genPlace.Draw(t, "n") },
		func(t *rapid.T) any { return genPart.Draw(t, "part") },
	}
)

func genKey(t *rapid.T) (k store.Key) {
	for _, part := range genKeyPart {
		k = append(k, part(t))
	}
	return k
}

func genSeriesRange(t *rapid.T) store.Range {
	r := store.Range{
		Prefix:  genKey(t)[:rapid.IntRange(0, 3).Draw(t, "prefix")],
		Reverse: rapid.Bool().Draw(t, "reverse"),
		Limit:   rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "limit"),
	}
	if rapid.Bool().Draw(t, "from?") {
		r.From = genKeyPart[len(r.Prefix)](t)
	}
	if rapid.Bool().Draw(t, "to?") {
		r.To = genKeyPart[len(r.Prefix)](t)
	}
	return r
}

// roomFor returns data in memory of the transaction.
func roomFor(tx store.Tx, data []byte) []byte {
	return append(Recordings.Room(tx, len(data)), data...)
}

// seriesOp does one thing to the store and to the model, and returns an error when they differ.
type seriesOp func(tx store.Tx, m recordings) error

func drawSeriesOp(t *rapid.T) seriesOp {
	key := genKey(t)
	id := fmt.Sprintf("%q", key)
	data := []byte(rapid.SampledFrom([]string{"", "x", "yy", strings.Repeat("z", 5000)}).Draw(t, "bytes"))
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1: // a run of them, so that a series gets long
		home, device, from := key[0], key[1], key[2].(int64)
		return func(tx store.Tx, m recordings) error {
			for n := from; n < from+20; n++ {
				k := store.Key{home, device, n, int64(0)}
				m[fmt.Sprintf("%q", k)] = store.Block{Key: k, Bytes: data}
				if err := Recordings.Put(tx, roomFor(tx, data), k...); err != nil {
					return err
				}
			}
			return nil
		}
	case 2, 3:
		return func(tx store.Tx, m recordings) error {
			m[id] = store.Block{Key: key, Bytes: data}
			return Recordings.Put(tx, roomFor(tx, data), key...)
		}
	case 4:
		return func(tx store.Tx, m recordings) error {
			_, there := m[id]
			err := Recordings.Insert(tx, roomFor(tx, data), key...)
			if there != errors.Is(err, store.ErrExists) || !there && err != nil {
				return fmt.Errorf("insert %s: %w, is there: %t", id, err, there)
			}
			if !there {
				m[id] = store.Block{Key: key, Bytes: data}
			}
			return nil
		}
	case 5:
		return func(tx store.Tx, m recordings) error {
			_, there := m[id]
			delete(m, id)
			err := Recordings.Delete(tx, key...)
			if there == errors.Is(err, store.ErrNotFound) || there && err != nil {
				return fmt.Errorf("delete %s: %w, was there: %t", id, err, there)
			}
			return nil
		}
	case 6:
		return func(tx store.Tx, m recordings) error {
			want, there := m[id]
			got, err := Recordings.Get(tx, key...)
			if there == errors.Is(err, store.ErrNotFound) || there && (err != nil || string(got) != string(want.Bytes)) {
				return fmt.Errorf("get %s: %q, %w, want %q", id, got, err, want.Bytes)
			}
			return nil
		}
	case 7: // forget every other one while going through them, and write the others again
		r := genSeriesRange(t)
		return func(tx store.Tx, m recordings) error {
			n, all := 0, len(m)
			for b, err := range Recordings.Scan(tx, r) {
				if n++; n > all {
					return fmt.Errorf("scan %s goes on after %d rows", describe(r), all)
				}
				id := fmt.Sprintf("%q", b.Key)
				switch {
				case err != nil:
				case n%2 == 0:
					m[id] = store.Block{Key: b.Key, Bytes: data}
					err = Recordings.Put(tx, data, b.Key...)
				default:
					delete(m, id)
					err = Recordings.Delete(tx, b.Key...)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
	default:
		r := genSeriesRange(t)
		return func(tx store.Tx, m recordings) error { return compareSeries(tx, m, r) }
	}
}

func compareSeries(tx store.Tx, m recordings, r store.Range) error {
	list := func(bs []store.Block) string {
		var s strings.Builder
		for _, b := range bs {
			fmt.Fprintf(&s, "%q=%q ", b.Key, b.Bytes)
		}
		return s.String()
	}
	var got []store.Block
	for b, err := range Recordings.Scan(tx, r) {
		if err != nil {
			return err
		}
		got = append(got, store.Block{Key: b.Key, Bytes: slices.Clone(b.Bytes)})
	}
	i := 0
	for key, err := range Recordings.Keys(tx, r) {
		if err != nil {
			return err
		}
		if i == len(got) || fmt.Sprintf("%q", key) != fmt.Sprintf("%q", got[i].Key) {
			return fmt.Errorf("keys of %s limit %d: %q is number %d of %s", describe(r), r.Limit, key, i, list(got))
		}
		i++
	}
	if i != len(got) {
		return fmt.Errorf("keys of %s limit %d: %d, but %d rows", describe(r), r.Limit, i, len(got))
	}
	if want := list(m.scan(r)); list(got) != want {
		return fmt.Errorf("scan %s limit %d:\n got %s\nwant %s", describe(r), r.Limit, list(got), want)
	}
	return nil
}

// testSeries runs random transactions against the store and a model that knows no series.
func testSeries(t *testing.T, e Engine) {
	db := open(t, e)
	rapid.Check(t, func(t *rapid.T) {
		tenant, model := newTenant(), recordings{}
		for range rapid.IntRange(1, 10).Draw(t, "transactions") {
			commit := rapid.IntRange(0, 4).Draw(t, "commit?") > 0
			var todo []seriesOp // drawn before the transaction, which may run more than once
			for range rapid.IntRange(1, 6).Draw(t, "operations") {
				todo = append(todo, drawSeriesOp(t))
			}
			model = transact(t, db, tenant, model, todo, commit)
			r := genSeriesRange(t)
			err := db.View(context.Background(), tenant, func(tx store.Tx) error {
				return errors.Join(compareSeries(tx, model, store.Range{}), compareSeries(tx, model, r))
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
