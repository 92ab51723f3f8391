package store_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hearthline/hearthline/cloud/store"
)

var columns = store.Columns{store.Text("a"), store.Int("b"), store.Time("c"), store.Text("d")}

var genKey = rapid.Custom(func(t *rapid.T) store.Key {
	text := rapid.StringOf(rapid.RuneFrom([]rune{'a', 'b', '\x01', '\u007f', '\u0080', '家', '\U0010ffff'}))
	n := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-2, 2))
	return store.Key{
		text.Draw(t, "a"), n.Draw(t, "b"),
		time.UnixMicro(rapid.Int64Range(-60_000_000_000_000_000, 250_000_000_000_000_000).Draw(t, "c")).UTC(),
		text.Draw(t, "d"),
	}
})

func compareKeys(a, b store.Key) int {
	return cmp.Or(
		strings.Compare(a[0].(string), b[0].(string)),
		cmp.Compare(a[1].(int64), b[1].(int64)),
		a[2].(time.Time).Compare(b[2].(time.Time)),
		strings.Compare(a[3].(string), b[3].(string)))
}

func TestEncodedKeysOrderAsKeysDoAndComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genKey.Draw(t, "one"), genKey.Draw(t, "two")
		for i := range rapid.IntRange(0, 3).Draw(t, "shared") {
			b[i] = a[i]
		}
		ea, err := store.AppendKey(nil, columns, a)
		if err != nil {
			t.Fatal(err)
		}
		eb, err := store.AppendKey(nil, columns, b)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := bytes.Compare(ea, eb), compareKeys(a, b); got != want {
			t.Fatalf("%v and %v compare as %d, encoded as %d", a, b, want, got)
		}
		back, rest, err := store.CutKey(ea, columns)
		if err != nil || len(rest) != 0 || !reflect.DeepEqual(back, a) {
			t.Fatalf("%v came back as %v, %x, %v", a, back, rest, err)
		}
		part, err := store.AppendKey(nil, columns, a[:2])
		if err != nil || !bytes.HasPrefix(ea, part) {
			t.Fatalf("the leading part %x is no prefix of %x, %v", part, ea, err)
		}
	})
}

func FuzzCutKey(f *testing.F) {
	good, err := store.AppendKey(nil, columns, store.Key{"a", 1, time.Unix(1, 0), "d"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		key, rest, err := store.CutKey(b, columns)
		if skipped := store.SkipKey(b, columns); (skipped == nil) != (err != nil) && len(rest) > 0 {
			t.Errorf("skip %x, cut %v", skipped, err)
		}
		if err != nil {
			return
		}
		again, err := store.AppendKey(nil, columns, key)
		if err == nil && !bytes.Equal(append(again, rest...), b) {
			t.Errorf("%x came back as %x", b, again)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add("YQCAAAAAAAAAAYAAAAAAAAAAYgA")
	f.Add("!")
	f.Fuzz(func(t *testing.T, s string) {
		pos, err := store.Cursor(s).Pos(columns)
		if err != nil && !errors.Is(err, store.ErrInvalid) {
			t.Errorf("cursor %q: %v", s, err)
		}
		if err == nil && s != "" {
			key, _, err := store.CutKey(pos, columns)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Values(columns, key); err != nil {
				t.Errorf("cursor %q lets through %v: %v", s, key, err)
			}
		}
	})
}

func TestADocumentTypeThatCannotComeBackIsRefusedWhenDeclared(t *testing.T) {
	type inner struct{ V any }
	type recursive struct {
		Next *recursive
		At   time.Time
		Raw  json.RawMessage
	}
	for name, declare := range map[string]func(){
		"an interface":    func() { declare[struct{ V any }]() },
		"one deep inside": func() { declare[struct{ M map[string][]inner }]() },
		"a function":      func() { declare[struct{ F func() }]() },
		"keys of no text": func() { declare[struct{ M map[int]string }]() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s was accepted", name)
				}
			}()
			declare()
		}()
	}
	declare[recursive]()
	declare[struct {
		Skipped any `json:"-"`
		Kept    int
	}]()
}

func declare[T any]() {
	store.NewTable("x", store.Spec[T]{Key: store.Columns{store.Text("id")}, KeyOf: func(*T) store.Key { return store.Key{"x"} }})
}

// entry is shaped like what a page of a timeline is made of.
type entry struct {
	ID     string            `json:"id"`
	Home   string            `json:"home"`
	Device string            `json:"device"`
	Kind   string            `json:"kind"`
	At     time.Time         `json:"at"`
	Causes []string          `json:"causes"`
	Text   map[string]string `json:"text"`
	Value  float64           `json:"value"`
}

func BenchmarkCodec(b *testing.B) {
	e := entry{
		ID: "hub-17.42.1001", Home: "home-123456", Device: "hub-17", Kind: "fault.opened", At: time.Now().UTC(),
		Causes: []string{"hub-17.42.1000", "hub-17.42.998"},
		Text:   map[string]string{"en": "The connection to the provider is down.", "zh-CN": "与运营商的连接已断开。"}, Value: 0.8125,
	}
	for name, c := range map[string]store.Codec{"JSON": store.JSON, "CBOR": store.CBOR} {
		doc, err := c.Marshal(&e)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/write", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Marshal(&e); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(doc)), "bytes/doc")
		})
		b.Run(name+"/read", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var v entry
				if err := c.Unmarshal(doc, &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
