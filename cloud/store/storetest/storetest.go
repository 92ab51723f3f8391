// Package storetest is the suite that every engine of the store passes: the contract case by case, random
// histories against a model, concurrent histories checked for serialisability, kills in the middle, and
// the isolation of tenants on every way to a row.
//
// An engine's tests call it with two functions, one that makes an empty place and one that opens it:
//
//	var engine = storetest.Engine{New: ..., Open: ...}
//
//	func TestMain(m *testing.M) { os.Exit(storetest.Main(m, engine)) }
//	func TestConformance(t *testing.T) { storetest.Run(t, engine) }
//
// With HEARTH_LONG=1 the random histories are of at least 100,000 operations.
package storetest

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/cloud/store"
)

// Engine is what the suite needs of an engine.
type Engine struct {
	// New makes an empty place, such as a path or a URL, that lasts for the test.
	New func(t testing.TB) (place string)
	// Open opens the store at a place, also one that another process left in whatever state.
	Open func(place string, tables ...store.Declared) (store.DB, error)
}

// long tells whether the long mode is on.
func long() bool { return os.Getenv("HEARTH_LONG") != "" }

// Main runs the tests of an engine's package and fails when they leave goroutines behind. In a child
// process that the suite has started to kill it, it is the child's work instead, and never returns.
func Main(m *testing.M, e Engine, leaks ...goleak.Option) int {
	if place := os.Getenv(childEnv); place != "" {
		child(e, place)
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(leaks...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// IsChild tells whether this process was started by the suite to be killed, and so has no need of what the
// tests of the package share.
func IsChild() bool { return os.Getenv(childEnv) != "" }

// Run runs the suite.
func Run(t *testing.T, e Engine) {
	t.Run("contract", func(t *testing.T) { testContract(t, e) })
	t.Run("random histories", func(t *testing.T) { testModel(t, e) })
	t.Run("series", func(t *testing.T) { testSeries(t, e) })
	t.Run("concurrent histories", func(t *testing.T) { testHistories(t, e) })
	t.Run("jobs", func(t *testing.T) { testJobs(t, e) })
	t.Run("tenants", func(t *testing.T) { testTenants(t, e) })
	t.Run("migrations", func(t *testing.T) { testMigrations(t, e) })
	t.Run("crash", func(t *testing.T) { testCrash(t, e) })
}

// Thing is the document of the suite, with something of everything a document can hold.
type Thing struct {
	Home   string            `json:"home"`
	N      int64             `json:"n"`
	State  State             `json:"state,omitempty"`
	Due    time.Time         `json:"due"`
	Tags   []string          `json:"tags,omitempty"`
	Owner  string            `json:"owner,omitempty"`
	Detail *Detail           `json:"detail,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`
}

// State is text of a type of its own, as domain packages have it.
type State string

// Detail holds what formats like to bend.
type Detail struct {
	Float float64  `json:"float"`
	Big   int64    `json:"big"`
	Raw   []byte   `json:"raw"`
	None  *float64 `json:"none"`
	Text  string   `json:"text"`
}

// Things has an index of each kind: over columns of its own, over columns it shares with the key and with
// another index, sparse, and multi-valued with a column of the key in the middle.
var Things = store.NewTable("things", store.Spec[Thing]{
	Key:   store.Columns{store.Text("home"), store.Int("n")},
	KeyOf: func(v *Thing) store.Key { return store.Key{v.Home, v.N} },
	Indexes: []store.Index[Thing]{
		{
			Name: "by_due",
			On:   store.Columns{store.Text("state"), store.Time("due")},
			Of: func(v *Thing) store.Key {
				if v.State == "" {
					return nil
				}
				return store.Key{v.State, v.Due}
			},
		},
		{
			Name: "by_owner",
			On:   store.Columns{store.Text("owner"), store.Int("n")},
			Of: func(v *Thing) store.Key {
				if v.Owner == "" {
					return nil
				}
				return store.Key{v.Owner, v.N}
			},
		},
		{
			Name: "even",
			On:   store.Columns{store.Int("n")},
			Of: func(v *Thing) store.Key {
				if v.N%2 != 0 {
					return nil
				}
				return store.Key{v.N}
			},
		},
		{
			Name: "by_tag",
			On:   store.Columns{store.Text("tag"), store.Int("n")},
			Each: func(v *Thing) []store.Key {
				var keys []store.Key
				for _, tag := range v.Tags {
					keys = append(keys, store.Key{tag, v.N})
				}
				return keys
			},
		},
	},
})

// Samples is a table of blocks.
var Samples = store.NewBlocks("samples", store.BlockSpec{
	Key:     store.Columns{store.Text("device"), store.Time("starts_at"), store.Time("ends_at")},
	Indexes: []store.BlockIndex{{Name: "by_age", On: []string{"ends_at"}}},
})

// unknown is never given to Open.
var unknown = store.NewTable("unknown", store.Spec[Thing]{
	Key:   store.Columns{store.Text("home")},
	KeyOf: func(v *Thing) store.Key { return store.Key{v.Home} },
})

// open opens the store at a new place, closed when the test ends.
func open(t testing.TB, e Engine) store.DB {
	t.Helper()
	return openAt(t, e, e.New(t), Things, Samples, Recordings)
}

func openAt(t testing.TB, e Engine, place string, tables ...store.Declared) store.DB {
	t.Helper()
	db, err := e.Open(place, tables...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

var tenants atomic.Int64

// newTenant names a tenant that no other test has: fresh ground in a store that is shared.
func newTenant() string { return fmt.Sprintf("t%d", tenants.Add(1)) }

func update(t testing.TB, db store.DB, tenant string, fn func(tx store.Tx) error) {
	t.Helper()
	if err := db.Update(context.Background(), tenant, fn); err != nil {
		t.Fatal(err)
	}
}

func view(t testing.TB, db store.DB, tenant string, fn func(tx store.Tx) error) {
	t.Helper()
	if err := db.View(context.Background(), tenant, fn); err != nil {
		t.Fatal(err)
	}
}

// numbers collects the N of a scan.
func numbers(tx store.Tx, r store.Range) ([]int64, error) {
	var ns []int64
	for v, err := range Things.Scan(tx, r) {
		if err != nil {
			return nil, err
		}
		ns = append(ns, v.N)
	}
	return ns, nil
}

func wantNumbers(t testing.TB, db store.DB, tenant string, r store.Range, want ...int64) {
	t.Helper()
	view(t, db, tenant, func(tx store.Tx) error {
		got, err := numbers(tx, r)
		if err == nil && !slices.Equal(got, want) {
			t.Errorf("scan %s: %v, want %v", describe(r), got, want)
		}
		return err
	})
}

func describe(r store.Range) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%v", r.Index, r.Prefix)
	if r.From != nil {
		fmt.Fprintf(&b, " from %v", r.From)
	}
	if r.To != nil {
		fmt.Fprintf(&b, " to %v", r.To)
	}
	if r.Reverse {
		b.WriteString(" reverse")
	}
	return b.String()
}
