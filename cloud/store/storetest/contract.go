package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func testContract(t *testing.T, e Engine) {
	db := open(t, e)
	for _, c := range []struct {
		name string
		test func(t *testing.T, db store.DB, tenant string)
	}{
		{"a document comes back as it was", testRoundTrip},
		{"errors are the contract's", testErrors},
		{"a failed update leaves nothing", testAtomic},
		{"a transaction sees its own writes", testOwnWrites},
		{"ranges hold what they say in order", testRanges},
		{"pages follow each other without holes", testPages},
		{"a scan may write", testScanAndWrite},
		{"a scan longer than a page of the engine is whole", testLongScan},
		{"blocks come back as they were", testBlocks},
		{"a batch isolates its failures", testBatch},
		{"a view is one moment", testSnapshot},
		{"a finished context runs nothing", testContext},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, db, newTenant()) })
	}
	t.Run("after Close there is ErrClosed", func(t *testing.T) {
		db := open(t, e)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		err := db.Update(context.Background(), "acme", func(tx store.Tx) error { return Things.Put(tx, &Thing{Home: "h"}) })
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("update: %v", err)
		}
		err = db.View(context.Background(), "acme", func(tx store.Tx) error { _, err := Things.Get(tx, "h", 0); return err })
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("view: %v", err)
		}
	})
}

func testRoundTrip(t *testing.T, db store.DB, tenant string) {
	for i, v := range []Thing{
		{Home: "h", Due: noon},
		{Home: "h", N: math.MinInt64, Due: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)},
		{Home: "h", N: math.MaxInt64, Due: noon.Add(123456789)}, // nanoseconds, in the document
		{Home: "ü 家 \U0001F3E0 ' \" \\ %", N: 4, State: "open", Due: noon, Tags: []string{"a", "b"}, Labels: map[string]string{"k.x": "v", "": ""}},
		{Home: "", N: 5, Due: noon, Detail: &Detail{
			Float: math.SmallestNonzeroFloat64, Big: math.MaxInt64, Raw: []byte{0, 1, 255}, Text: "line\nline\ttab <&> \u2028 \x01",
		}},
		{Home: "h", N: 6, Due: noon, Detail: &Detail{Float: -math.MaxFloat64, Big: math.MinInt64, None: new(float64), Raw: []byte{}}},
		{Home: "h", N: 7, Due: noon, Labels: map[string]string{"long": strings.Repeat("0123456789", 30_000)}},
	} {
		update(t, db, tenant, func(tx store.Tx) error { return Things.Put(tx, &v) })
		view(t, db, tenant, func(tx store.Tx) error {
			got, err := Things.Get(tx, v.Home, v.N)
			if err == nil && !reflect.DeepEqual(got, v) {
				t.Errorf("document %d:\n got %+v %+v\nwant %+v %+v", i, got, got.Detail, v, v.Detail)
			}
			return err
		})
	}
}

func testErrors(t *testing.T, db store.DB, tenant string) {
	in := func(run func(context.Context, string, func(store.Tx) error) error, fn func(store.Tx) error) error {
		return run(context.Background(), tenant, fn)
	}
	put := func(v *Thing) func(store.Tx) error { return func(tx store.Tx) error { return Things.Put(tx, v) } }
	get := func(key ...any) func(store.Tx) error {
		return func(tx store.Tx) error { _, err := Things.Get(tx, key...); return err }
	}
	scan := func(r store.Range) func(store.Tx) error {
		return func(tx store.Tx) error { _, err := numbers(tx, r); return err }
	}
	if err := in(db.Update, put(&Thing{Home: "h", N: 1, Due: noon})); err != nil {
		t.Fatal(err)
	}
	var leaked store.Tx
	if err := in(db.View, func(tx store.Tx) error { leaked = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	own := errors.New("own")
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"get of no row", in(db.View, get("h", 2)), store.ErrNotFound},
		{"delete of no row", in(db.Update, func(tx store.Tx) error { return Things.Delete(tx, "h", 2) }), store.ErrNotFound},
		{"insert of a row that is there", in(db.Update, func(tx store.Tx) error { return Things.Insert(tx, &Thing{Home: "h", N: 1, Due: noon}) }), store.ErrExists},
		{"put in a view", in(db.View, put(&Thing{Home: "h", Due: noon})), store.ErrReadOnly},
		{"delete in a view", in(db.View, func(tx store.Tx) error { return Things.Delete(tx, "h", 1) }), store.ErrReadOnly},
		{"enqueue in a view", in(db.View, func(tx store.Tx) error { return store.Enqueue(tx, store.Job{Queue: "q", ID: "1"}) }), store.ErrReadOnly},
		{"a table that was not declared", in(db.View, func(tx store.Tx) error { _, err := unknown.Get(tx, "h"); return err }), store.ErrUnknownTable},
		{"half a key", in(db.View, get("h")), store.ErrInvalid},
		{"too long a key", in(db.View, get("h", 1, 1)), store.ErrInvalid},
		{"a number for text", in(db.View, get(1, 1)), store.ErrInvalid},
		{"text for a number", in(db.View, get("h", "1")), store.ErrInvalid},
		{"nil for text", in(db.View, get(nil, 1)), store.ErrInvalid},
		{"a number above int64", in(db.View, get("h", uint64(math.MaxUint64))), store.ErrInvalid},
		{"a NUL in a key", in(db.Update, put(&Thing{Home: "h\x00", Due: noon})), store.ErrInvalid},
		{"invalid UTF-8 in a key", in(db.Update, put(&Thing{Home: "h\xff", Due: noon})), store.ErrInvalid},
		{"too long a text in a key", in(db.Update, put(&Thing{Home: strings.Repeat("h", store.MaxText+1), Due: noon})), store.ErrInvalid},
		{"a NUL in an index", in(db.Update, put(&Thing{Home: "h", N: 1, Tags: []string{"ok", "\x00"}, Due: noon})), store.ErrInvalid},
		{"the year 10000 in an index", in(db.Update, put(&Thing{Home: "h", N: 1, State: "s", Due: noon.AddDate(9000, 0, 0)})), store.ErrInvalid},
		{"no such index", in(db.View, scan(store.Range{Index: "by_colour"})), store.ErrInvalid},
		{"a bound of the wrong type", in(db.View, scan(store.Range{Prefix: store.Key{"h"}, From: "a"})), store.ErrInvalid},
		{"a bound behind the last column", in(db.View, scan(store.Range{Prefix: store.Key{"h", 1}, From: 1})), store.ErrInvalid},
		{"a cursor that is none", in(db.View, scan(store.Range{After: "!"})), store.ErrInvalid},
		{"a cursor cut short", in(db.View, scan(store.Range{After: "aA"})), store.ErrInvalid},
		{"a tenant with a slash", db.View(context.Background(), "a/b", get("h", 1)), store.ErrInvalid},
		{"no tenant", db.Update(context.Background(), "", put(&Thing{Home: "h", Due: noon})), store.ErrInvalid},
		{"a transaction that has ended", get("h", 1)(leaked), store.ErrInvalid},
		{"the function's own error", in(db.Update, func(store.Tx) error { return fmt.Errorf("wrapped: %w", own) }), own},
		{"a job without a queue", in(db.Update, func(tx store.Tx) error { return store.Enqueue(tx, store.Job{ID: "1"}) }), store.ErrInvalid},
		{"a job without an id", in(db.Update, func(tx store.Tx) error { return store.Enqueue(tx, store.Job{Queue: "q"}) }), store.ErrInvalid},
		{"a job too large", in(db.Update, func(tx store.Tx) error {
			return store.Enqueue(tx, store.Job{Queue: "q", ID: "1", Payload: make([]byte, store.MaxPayload+1)})
		}), store.ErrInvalid},
		{"cancel of no job", in(db.Update, func(tx store.Tx) error { return store.Cancel(tx, "q", "1") }), store.ErrNotFound},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.err, c.want)
		}
	}
	view(t, db, tenant, func(tx store.Tx) error {
		v, err := Things.Get(tx, "h", 1)
		if err == nil && (v.Tags != nil || v.State != "") {
			t.Errorf("a refused write is there: %+v", v)
		}
		return err
	})
	wantNumbers(t, db, tenant, store.Range{}, 1)
	wantNumbers(t, db, tenant, store.Range{Index: "by_tag"})
}

func testAtomic(t *testing.T, db store.DB, tenant string) {
	update(t, db, tenant, func(tx store.Tx) error { return Things.Put(tx, &Thing{Home: "h", N: 1, State: "open", Due: noon}) })
	own := errors.New("own")
	err := db.Update(context.Background(), tenant, func(tx store.Tx) error {
		if err := Things.Put(tx, &Thing{Home: "h", N: 2, State: "open", Due: noon, Tags: []string{"x"}}); err != nil {
			return err
		}
		if err := Things.Delete(tx, "h", 1); err != nil {
			return err
		}
		if err := store.Enqueue(tx, store.Job{Queue: tenant, ID: "1"}); err != nil {
			return err
		}
		return own
	})
	if !errors.Is(err, own) {
		t.Fatal(err)
	}
	wantNumbers(t, db, tenant, store.Range{}, 1)
	wantNumbers(t, db, tenant, store.Range{Index: "by_due"}, 1)
	wantNumbers(t, db, tenant, store.Range{Index: "by_tag"})
	if jobs, err := db.Waiting(context.Background(), tenant, 10); err != nil || len(jobs) != 0 {
		t.Errorf("jobs of a failed update: %v, %v", jobs, err)
	}
}

func testOwnWrites(t *testing.T, db store.DB, tenant string) {
	update(t, db, tenant, func(tx store.Tx) error {
		if err := Things.Put(tx, &Thing{Home: "h", N: 1, Tags: []string{"a", "a", "b"}, State: "open", Due: noon}); err != nil {
			return err
		}
		if err := Things.Put(tx, &Thing{Home: "h", N: 1, Tags: []string{"b", "c"}, Due: noon}); err != nil {
			return err
		}
		if err := Things.Insert(tx, &Thing{Home: "h", N: 1}); !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("insert over an own put: %w", err)
		}
		for tag, want := range map[string]int{"a": 0, "b": 1, "c": 1} {
			if ns, err := numbers(tx, store.Range{Index: "by_tag", Prefix: store.Key{tag}}); err != nil || len(ns) != want {
				return fmt.Errorf("%d rows under tag %s, want %d: %w", len(ns), tag, want, err)
			}
		}
		if ns, err := numbers(tx, store.Range{Index: "by_due"}); err != nil || len(ns) != 0 {
			return fmt.Errorf("%d rows by due, want none: %w", len(ns), err)
		}
		if err := Things.Delete(tx, "h", 1); err != nil {
			return err
		}
		if ok, err := Things.Has(tx, "h", 1); ok || err != nil {
			return fmt.Errorf("a deleted row is there: %w", err)
		}
		return Things.Insert(tx, &Thing{Home: "h", N: 1, Due: noon})
	})
	wantNumbers(t, db, tenant, store.Range{}, 1)
}

func testBlocks(t *testing.T, db store.DB, tenant string) {
	key := func(i int) store.Key {
		return store.Key{"d", noon.Add(time.Duration(i) * time.Minute), noon.Add(time.Duration(i+1) * time.Minute)}
	}
	data := func(i int) []byte {
		return append([]byte{0, 255, '\\', 'x'}, strings.Repeat(string(rune('a'+i%26)), i*100)...)
	}
	update(t, db, tenant, func(tx store.Tx) error {
		for i := range 50 {
			if err := Samples.Insert(tx, data(i), key(i)...); err != nil {
				return err
			}
		}
		if err := Samples.Insert(tx, nil, key(0)...); !errors.Is(err, store.ErrExists) {
			return fmt.Errorf("insert of a block that is there: %w", err)
		}
		return Samples.Put(tx, []byte{}, "empty", noon, noon)
	})
	update(t, db, tenant, func(tx store.Tx) error {
		return errors.Join(
			Samples.Put(tx, data(49), key(20)...), Samples.Put(tx, data(20), key(20)...),
			Samples.Delete(tx, key(30)...), Samples.Insert(tx, data(30), key(30)...))
	})
	view(t, db, tenant, func(tx store.Tx) error {
		i := 10
		r := store.Range{Prefix: store.Key{"d"}, From: noon.Add(10 * time.Minute), To: noon.Add(40 * time.Minute)}
		for b, err := range Samples.Scan(tx, r) {
			if err != nil {
				return err
			}
			if !reflect.DeepEqual(b.Key, key(i)) || !slices.Equal(b.Bytes, data(i)) {
				t.Errorf("block %d came back as %v with %d bytes", i, b.Key, len(b.Bytes))
			}
			i++
		}
		if i != 40 {
			t.Errorf("the scan ended at block %d, want 40", i)
		}
		if b, err := Samples.Get(tx, "empty", noon, noon); err != nil || len(b) != 0 {
			t.Errorf("empty block: %v, %v", b, err)
		}
		return nil
	})
	old := 0
	update(t, db, tenant, func(tx store.Tx) error { // retention
		old = 0
		for b, err := range Samples.Scan(tx, store.Range{Index: "by_age", To: noon.Add(30 * time.Minute)}) {
			if err != nil {
				return err
			}
			old++
			if err := Samples.Delete(tx, b.Key...); err != nil {
				return err
			}
		}
		return nil
	})
	left := 0
	view(t, db, tenant, func(tx store.Tx) error {
		for _, err := range Samples.Scan(tx, store.Range{Index: "by_age"}) {
			if err != nil {
				return err
			}
			left++
		}
		return nil
	})
	if old != 30 || left != 21 { // 29 of the device end before that, and the empty one
		t.Errorf("retention removed %d blocks and left %d, want 30 and 21", old, left)
	}
}

func testBatch(t *testing.T, db store.DB, tenant string) {
	own := errors.New("own")
	other := newTenant()
	var work []store.Work
	for i := range 100 {
		w := store.Work{Tenant: tenant, Do: func(tx store.Tx) error {
			if err := Things.Insert(tx, &Thing{Home: "h", N: int64(i), Due: noon}); err != nil {
				return err
			}
			if i%10 == 3 {
				return own
			}
			return nil
		}}
		if i%2 == 0 {
			w.Tenant = other
		}
		if i == 50 {
			w.Tenant = "not a tenant"
		}
		work = append(work, w)
	}
	for i, err := range db.Batch(context.Background(), work) {
		switch {
		case i == 50:
			if !errors.Is(err, store.ErrInvalid) {
				t.Errorf("work 50: %v", err)
			}
		case i%10 == 3:
			if !errors.Is(err, own) {
				t.Errorf("work %d: %v", i, err)
			}
		case err != nil:
			t.Errorf("work %d: %v", i, err)
		}
	}
	for name, want := range map[string]int{tenant: 40, other: 49} {
		view(t, db, name, func(tx store.Tx) error {
			ns, err := numbers(tx, store.Range{})
			if len(ns) != want {
				t.Errorf("%d rows, want %d", len(ns), want)
			}
			return err
		})
	}
}

func testSnapshot(t *testing.T, db store.DB, tenant string) {
	update(t, db, tenant, func(tx store.Tx) error { return Things.Put(tx, &Thing{Home: "h", N: 1, Owner: "before", Due: noon}) })
	view(t, db, tenant, func(tx store.Tx) error {
		if _, err := Things.Get(tx, "h", 1); err != nil {
			return err
		}
		done := make(chan error)
		go func() {
			done <- db.Update(context.Background(), tenant, func(tx store.Tx) error {
				return errors.Join(
					Things.Put(tx, &Thing{Home: "h", N: 1, Owner: "after", Due: noon}),
					Things.Put(tx, &Thing{Home: "h", N: 2, Owner: "after", Due: noon}))
			})
		}()
		if err := <-done; err != nil {
			return err
		}
		v, err := Things.Get(tx, "h", 1)
		if err != nil {
			return err
		}
		ns, err := numbers(tx, store.Range{})
		if v.Owner != "before" || len(ns) != 1 {
			t.Errorf("the view has moved on: %s, %v", v.Owner, ns)
		}
		return err
	})
	wantNumbers(t, db, tenant, store.Range{Index: "by_owner", Prefix: store.Key{"after"}}, 1, 2)
}

func testContext(t *testing.T, db store.DB, tenant string) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ran := false
	fn := func(tx store.Tx) error { ran = true; return Things.Put(tx, &Thing{Home: "h", Due: noon}) }
	if err := db.Update(ctx, tenant, fn); !errors.Is(err, context.Canceled) || ran {
		t.Errorf("update: ran %t, %v", ran, err)
	}
	if err := db.View(ctx, tenant, fn); !errors.Is(err, context.Canceled) || ran {
		t.Errorf("view: ran %t, %v", ran, err)
	}
	wantNumbers(t, db, tenant, store.Range{})
}
