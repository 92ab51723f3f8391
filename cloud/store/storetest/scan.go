package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
)

func testRanges(t *testing.T, db store.DB, tenant string) {
	update(t, db, tenant, func(tx store.Tx) error {
		for i, home := range []string{"a", "a", "a", "ab", "b", "家", ""} {
			v := Thing{Home: home, N: int64(i - 2), State: "open", Due: noon.Add(time.Duration(-i) * time.Hour)}
			if err := Things.Put(tx, &v); err != nil {
				return err
			}
		}
		return nil
	})
	a := store.Key{"a"}
	hour := func(i int) time.Time { return noon.Add(time.Duration(i) * time.Hour) }
	for _, c := range []struct {
		r    store.Range
		want []int64
	}{
		{store.Range{}, []int64{4, -2, -1, 0, 1, 2, 3}},
		{store.Range{Prefix: a}, []int64{-2, -1, 0}},
		{store.Range{Prefix: store.Key{""}}, []int64{4}},
		{store.Range{Prefix: store.Key{"a", -1}}, []int64{-1}},
		{store.Range{Prefix: a, From: -1}, []int64{-1, 0}},
		{store.Range{Prefix: a, To: -1}, []int64{-2}},
		{store.Range{Prefix: a, From: -1, To: 0}, []int64{-1}},
		{store.Range{Prefix: a, From: 5, To: -5}, nil},
		{store.Range{Prefix: a, Reverse: true}, []int64{0, -1, -2}},
		{store.Range{Prefix: a, From: -1, Reverse: true}, []int64{0, -1}},
		{store.Range{Prefix: a, To: 0, Reverse: true}, []int64{-1, -2}},
		{store.Range{From: "ab"}, []int64{1, 2, 3}},
		{store.Range{From: "aa", To: "b"}, []int64{1}},
		{store.Range{To: "ab"}, []int64{4, -2, -1, 0}},
		{store.Range{Reverse: true, Limit: 2}, []int64{3, 2}},
		{store.Range{Limit: 2}, []int64{4, -2}},
		{store.Range{Index: "by_due", Prefix: store.Key{"open"}, To: hour(-3)}, []int64{4, 3, 2}},
		{store.Range{Index: "by_due", Prefix: store.Key{State("open")}, From: hour(-1), Reverse: true}, []int64{-2, -1}},
		{store.Range{Index: "by_due", Prefix: store.Key{"shut"}}, nil},
		{store.Range{Index: "even", Reverse: true}, []int64{4, 2, 0, -2}},
		{store.Range{Index: "even", From: 0, To: 4}, []int64{0, 2}},
		{store.Range{Index: "even", Prefix: store.Key{0, "a"}}, []int64{0}},
		{store.Range{Index: "even", Prefix: store.Key{0, "a", 0}}, []int64{0}},
		{store.Range{Index: "even", Prefix: store.Key{0, "a", 2}}, nil},
	} {
		wantNumbers(t, db, tenant, c.r, c.want...)
	}
}

func testPages(t *testing.T, db store.DB, tenant string) {
	const n = 47
	update(t, db, tenant, func(tx store.Tx) error {
		for i := range n {
			// Equal index keys, so that the place in the order needs the primary key too.
			if err := Things.Put(tx, &Thing{Home: "h", N: int64(i), State: "open", Due: noon, Tags: []string{"x"}}); err != nil {
				return err
			}
		}
		return nil
	})
	for _, r := range []store.Range{
		{Prefix: store.Key{"h"}},
		{Index: "by_due", Prefix: store.Key{"open"}},
		{Index: "by_due", Prefix: store.Key{"open"}, From: noon},
		{Index: "by_tag", Prefix: store.Key{"x"}},
		{Index: "by_tag", From: "x"},
	} {
		for _, reverse := range []bool{false, true} {
			r.Reverse, r.Limit, r.After = reverse, 5, ""
			var got []int64
			for pages := 0; ; pages++ {
				view(t, db, tenant, func(tx store.Tx) error {
					page, next, err := Things.Page(tx, r)
					for _, v := range page {
						got = append(got, v.N)
					}
					r.After = next
					return err
				})
				if r.After == "" || pages > n {
					break
				}
			}
			if reverse {
				slices.Reverse(got)
			}
			ok := len(got) == n
			for i := range got {
				ok = ok && got[i] == int64(i)
			}
			if !ok {
				t.Errorf("pages of %s (reverse %t): %v", describe(r), reverse, got)
			}
		}
	}
}

func testScanAndWrite(t *testing.T, db store.DB, tenant string) {
	const n = 300
	update(t, db, tenant, func(tx store.Tx) error {
		for i := range n {
			if err := Things.Put(tx, &Thing{Home: "h", N: int64(i), State: "open", Due: noon.Add(time.Duration(i)), Tags: []string{"x"}}); err != nil {
				return err
			}
		}
		return nil
	})
	for _, r := range []store.Range{
		{Index: "by_due", Prefix: store.Key{"open"}},
		{Index: "by_due", Prefix: store.Key{"shut"}, Reverse: true},
	} {
		update(t, db, tenant, func(tx store.Tx) error {
			met := 0
			for v, err := range Things.Scan(tx, r) {
				if err != nil {
					return err
				}
				met++
				if v.State == "open" {
					v.State = "shut" // leaves the range it is met in
				} else if err := Things.Delete(tx, v.Home, v.N); err != nil {
					return err
				} else {
					continue
				}
				if err := Things.Put(tx, &v); err != nil {
					return err
				}
			}
			if met != n {
				t.Errorf("scan %s that writes met %d rows, want %d", describe(r), met, n)
			}
			return nil
		})
	}
	wantNumbers(t, db, tenant, store.Range{})
	wantNumbers(t, db, tenant, store.Range{Index: "by_tag"})
}

func testLongScan(t *testing.T, db store.DB, tenant string) {
	const n = 3000
	update(t, db, tenant, func(tx store.Tx) error {
		for i := range n {
			if err := Things.Put(tx, &Thing{Home: "h", N: int64(i), Due: noon, Owner: "o"}); err != nil {
				return err
			}
		}
		return nil
	})
	for _, r := range []store.Range{{}, {Prefix: store.Key{"h"}}, {Index: "by_owner"}, {Index: "by_owner", Reverse: true}, {Limit: 2500}} {
		view(t, db, tenant, func(tx store.Tx) error {
			got, err := numbers(tx, r)
			if err != nil {
				return err
			}
			want := n
			if r.Limit > 0 {
				want = r.Limit
			}
			if r.Reverse {
				slices.Reverse(got)
			}
			if len(got) != want || !slices.IsSorted(got) || len(slices.Compact(got)) != want {
				t.Errorf("scan %s: %d rows, want %d, each once and in order", describe(r), len(got), want)
			}
			return nil
		})
	}
}
