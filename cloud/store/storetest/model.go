package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearthline/hearthline/cloud/store"
)

// model is what a store should hold: every document of a tenant by its key, nothing cleverer. Its order of
// keys is written out here again, so that it does not share a mistake with store.AppendKey.
type model map[string]Thing

func modelKey(home string, n int64) string { return fmt.Sprintf("%s/%d", home, n) }

func compareParts(a, b any) int {
	switch x := a.(type) {
	case string:
		return strings.Compare(x, b.(string))
	case State:
		return strings.Compare(string(x), b.(string))
	case int64:
		return cmp.Compare(x, b.(int64))
	default:
		return x.(time.Time).Truncate(time.Microsecond).Compare(b.(time.Time).Truncate(time.Microsecond))
	}
}

// scan answers a range by sorting everything.
func (m model) scan(r store.Range) []Thing {
	type item struct {
		key store.Key
		v   Thing
	}
	var items []item
	for _, v := range m {
		pk := store.Key{v.Home, v.N}
		var keys []store.Key
		switch r.Index {
		case "":
			keys = []store.Key{pk}
		case "by_due":
			if v.State != "" {
				keys = []store.Key{{string(v.State), v.Due, v.Home, v.N}}
			}
		case "by_owner":
			if v.Owner != "" {
				keys = []store.Key{{v.Owner, v.N, v.Home, v.N}}
			}
		case "even":
			if v.N%2 == 0 {
				keys = []store.Key{{v.N, v.Home, v.N}}
			}
		case "by_tag":
			for i, tag := range v.Tags {
				if slices.Index(v.Tags, tag) == i {
					keys = append(keys, store.Key{tag, v.N, v.Home, v.N})
				}
			}
		}
		for _, k := range keys {
			ok := true
			for i, p := range r.Prefix {
				ok = ok && compareParts(k[i], p) == 0
			}
			if at := len(r.Prefix); ok && r.From != nil {
				ok = compareParts(k[at], r.From) >= 0
			}
			if at := len(r.Prefix); ok && r.To != nil {
				ok = compareParts(k[at], r.To) < 0
			}
			if ok {
				items = append(items, item{k, v})
			}
		}
	}
	slices.SortFunc(items, func(a, b item) int {
		for i := range a.key {
			if c := compareParts(a.key[i], b.key[i]); c != 0 {
				if r.Reverse {
					return -c
				}
				return c
			}
		}
		return 0
	})
	if r.Limit > 0 && len(items) > r.Limit {
		items = items[:r.Limit]
	}
	out := make([]Thing, len(items))
	for i := range items {
		out[i] = items[i].v
	}
	return out
}

// Small ranges of values, so that keys meet again, with some that sort in surprising places.
var (
	genHome  = rapid.SampledFrom([]string{"", "a", "a!", "aa", "ab", "B", "é", "家"})
	genN     = rapid.SampledFrom([]int64{-1 << 63, -300, -256, -1, 0, 1, 2, 255, 256, 1<<63 - 1})
	genState = rapid.SampledFrom([]string{"", "", "open", "ope", "openx", "\x01", "\U0010ffff"})
	genDue   = rapid.Custom(func(t *rapid.T) time.Time {
		return noon.Add(time.Duration(rapid.Int64Range(-3, 3).Draw(t, "µs")) * time.Microsecond).Add(time.Duration(rapid.IntRange(0, 1).Draw(t, "ns")) * 400)
	})
	genTags  = rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", "x y", "z"}), 0, 4)
	genOwner = rapid.SampledFrom([]string{"", "o", "p"})
	genThing = rapid.Custom(func(t *rapid.T) Thing {
		v := Thing{
			Home: genHome.Draw(t, "home"), N: genN.Draw(t, "n"), State: State(genState.Draw(t, "state")),
			Due: genDue.Draw(t, "due"), Owner: genOwner.Draw(t, "owner"),
		}
		if tags := genTags.Draw(t, "tags"); len(tags) > 0 {
			v.Tags = tags
		}
		return v
	})
)

func genRange(t *rapid.T) store.Range {
	r := store.Range{
		Index:   rapid.SampledFrom([]string{"", "by_due", "by_owner", "even", "by_tag"}).Draw(t, "index"),
		Reverse: rapid.Bool().Draw(t, "reverse"),
		Limit:   rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "limit"),
	}
	text := func(g *rapid.Generator[string]) func() any { return func() any { return g.Draw(t, "part") } }
	n := func() any { return genN.Draw(t, "part") }
	parts := map[string][]func() any{
		"":         {text(genHome), n},
		"by_due":   {text(genState), func() any { return genDue.Draw(t, "part") }, text(genHome), n},
		"by_owner": {text(genOwner), n, text(genHome)},
		"even":     {n, text(genHome)},
		"by_tag":   {text(rapid.SampledFrom([]string{"x", "y", "x y", "nope"})), n, text(genHome)},
	}[r.Index]
	k := rapid.IntRange(0, len(parts)-1).Draw(t, "prefix")
	for _, p := range parts[:k] {
		r.Prefix = append(r.Prefix, p())
	}
	if rapid.Bool().Draw(t, "from?") {
		r.From = parts[k]()
	}
	if rapid.Bool().Draw(t, "to?") {
		r.To = parts[k]()
	}
	return r
}

// testModel runs random transactions on two tenants against the store and the model, side by side.
func testModel(t *testing.T, e Engine) {
	db := open(t, e)
	want := 10_000
	if long() {
		want = 100_000
	}
	for ops := 0; ops < want && !t.Failed(); {
		rapid.Check(t, func(t *rapid.T) { ops += history(t, db) })
	}
}

// history is one random history. It returns the number of operations.
func history(t *rapid.T, db store.DB) (ops int) {
	names := [2]string{newTenant(), newTenant()}
	models := [2]model{{}, {}}
	ctx := context.Background()
	for range rapid.IntRange(1, 12).Draw(t, "transactions") {
		who := rapid.IntRange(0, 1).Draw(t, "tenant")
		commit := rapid.IntRange(0, 4).Draw(t, "commit?") > 0
		// The operations are drawn before the transaction, which may run more than once.
		var todo []op
		for range rapid.IntRange(1, 8).Draw(t, "operations") {
			todo = append(todo, drawOp(t))
		}
		ops += len(todo)
		models[who] = transact(t, db, names[who], models[who], todo, commit)
		for i := range names {
			r := genRange(t)
			if err := db.View(ctx, names[i], func(tx store.Tx) error { return compare(tx, models[i], r) }); err != nil {
				t.Fatal(err)
			}
			ops++
		}
	}
	return ops
}

// transact does operations in one transaction, commits it or gives it up, and returns what the model is then.
func transact[M ~map[string]V, V any, Op ~func(store.Tx, M) error](t *rapid.T, db store.DB, tenant string, was M, todo []Op, commit bool) M {
	give := errors.New("given up")
	var now M
	err := db.Update(context.Background(), tenant, func(tx store.Tx) error {
		now = maps.Clone(was)
		for _, o := range todo {
			if err := o(tx, now); err != nil {
				return err
			}
		}
		if !commit {
			return give
		}
		return nil
	})
	switch {
	case commit && err == nil:
		return now
	case !commit && errors.Is(err, give):
		return was
	}
	t.Fatal(err)
	return nil
}

// op does one thing to the store and to the model, and returns an error when they differ.
type op func(tx store.Tx, m model) error

func drawOp(t *rapid.T) op {
	switch rapid.IntRange(0, 9).Draw(t, "kind") {
	case 0, 1, 2, 3:
		v := genThing.Draw(t, "put")
		return func(tx store.Tx, m model) error {
			m[modelKey(v.Home, v.N)] = v
			return Things.Put(tx, &v)
		}
	case 4:
		v := genThing.Draw(t, "insert")
		return func(tx store.Tx, m model) error {
			_, there := m[modelKey(v.Home, v.N)]
			err := Things.Insert(tx, &v)
			if there != errors.Is(err, store.ErrExists) || !there && err != nil {
				return fmt.Errorf("insert %s/%d: %v, is there: %t", v.Home, v.N, err, there)
			}
			if !there {
				m[modelKey(v.Home, v.N)] = v
			}
			return nil
		}
	case 5, 6:
		home, n := genHome.Draw(t, "home"), genN.Draw(t, "n")
		return func(tx store.Tx, m model) error {
			_, there := m[modelKey(home, n)]
			delete(m, modelKey(home, n))
			err := Things.Delete(tx, home, n)
			if there == errors.Is(err, store.ErrNotFound) || there && err != nil {
				return fmt.Errorf("delete %s/%d: %v, was there: %t", home, n, err, there)
			}
			return nil
		}
	case 7:
		home, n := genHome.Draw(t, "home"), genN.Draw(t, "n")
		return func(tx store.Tx, m model) error {
			want, there := m[modelKey(home, n)]
			got, err := Things.Get(tx, home, n)
			if there == errors.Is(err, store.ErrNotFound) || there && (err != nil || !reflect.DeepEqual(got, want)) {
				return fmt.Errorf("get %s/%d: %+v, %v, want %+v", home, n, got, err, want)
			}
			return nil
		}
	default:
		r := genRange(t)
		return func(tx store.Tx, m model) error { return compare(tx, m, r) }
	}
}

// compare scans a range, at once and page by page, and compares it with the model.
func compare(tx store.Tx, m model, r store.Range) error {
	want := m.scan(r)
	var got []Thing
	for v, err := range Things.Scan(tx, r) {
		if err != nil {
			return err
		}
		got = append(got, v)
	}
	at := 0
	for key, err := range Things.Keys(tx, r) {
		if err != nil {
			return err
		}
		if at == len(want) || compareParts(key[0], want[at].Home) != 0 || compareParts(key[1], want[at].N) != 0 {
			return fmt.Errorf("keys of %s limit %d: %v is number %d\nwant %v", describe(r), r.Limit, key, at, want)
		}
		at++
	}
	if at != len(want) {
		return fmt.Errorf("keys of %s limit %d: %d, want %d", describe(r), r.Limit, at, len(want))
	}
	if !equal(got, want) {
		return fmt.Errorf("scan %s limit %d:\n got %v\nwant %v", describe(r), r.Limit, got, want)
	}
	r.Limit = 0
	want = m.scan(r)
	r.Limit, got = 2, nil
	for {
		page, next, err := Things.Page(tx, r)
		if err != nil {
			return err
		}
		got = append(got, page...)
		if r.After = next; next == "" || len(got) > len(want) {
			break
		}
	}
	if !equal(got, want) {
		return fmt.Errorf("pages of %s:\n got %v\nwant %v", describe(r), got, want)
	}
	return nil
}

func equal(a, b []Thing) bool {
	return slices.EqualFunc(a, b, func(x, y Thing) bool { return reflect.DeepEqual(x, y) })
}
