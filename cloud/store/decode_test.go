package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

type level int

type word string

// loud is read in a way of its own.
type loud struct{ n int }

func (l loud) MarshalText() ([]byte, error) { return bytes.Repeat([]byte("!"), l.n), nil }

func (l *loud) UnmarshalText(b []byte) error { l.n = len(b); return nil }

type embedded struct {
	Inside string `json:"inside"`
}

type withEmbedded struct {
	embedded
	Own int `json:"own"`
}

type compact struct {
	A int    `cbor:"1,keyasint"`
	B string `cbor:"2,keyasint,omitempty"`
}

type everything struct {
	Text     string            `json:"text"`
	Word     word              `json:"word,omitempty"`
	Yes      bool              `json:"yes"`
	Level    level             `json:"level"`
	Small    int8              `json:"small"`
	Count    uint64            `json:"count"`
	Ratio    float64           `json:"ratio"`
	Third    float32           `json:"third"`
	At       time.Time         `json:"at"`
	Until    *time.Time        `json:"until,omitempty"`
	Raw      []byte            `json:"raw"`
	Words    []word            `json:"words"`
	Labels   map[string]string `json:"labels"`
	Levels   map[word]level    `json:"levels,omitempty"`
	Children []everything      `json:"children,omitempty"`
	Other    *everything       `json:"other"`
	Loud     loud              `json:"loud"`
	Embedded withEmbedded      `json:"embedded"`
	Compact  []compact         `json:"compact"`
	Pair     [2]int            `json:"pair"`
	NoTag    string
	hidden   int    //lint:ignore U1000 an unexported field must be left alone by the decoder
	Left     string `json:"-"`
}

func genEverything(depth int) *rapid.Generator[everything] {
	return rapid.Custom(func(t *rapid.T) everything {
		text := rapid.StringN(0, 40, -1)
		v := everything{
			Text: text.Draw(t, "text"), Word: word(text.Draw(t, "word")), Yes: rapid.Bool().Draw(t, "yes"),
			Level: level(rapid.Int().Draw(t, "level")), Small: rapid.Int8().Draw(t, "small"), Count: rapid.Uint64().Draw(t, "count"),
			Ratio: rapid.Float64().Draw(t, "ratio"), Third: rapid.Float32().Draw(t, "third"), NoTag: text.Draw(t, "no tag"),
			Loud: loud{rapid.IntRange(0, 3).Draw(t, "loud")}, Pair: [2]int{1, rapid.Int().Draw(t, "pair")},
		}
		v.Embedded.Inside, v.Embedded.Own = text.Draw(t, "inside"), rapid.Int().Draw(t, "own")
		when := func() time.Time {
			return time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
		}
		if rapid.Bool().Draw(t, "at?") {
			v.At = when()
		}
		if rapid.Bool().Draw(t, "until?") {
			u := when()
			v.Until = &u
		}
		if rapid.Bool().Draw(t, "lists?") {
			v.Raw = rapid.SliceOf(rapid.Byte()).Draw(t, "raw")
			v.Words = []word{word(text.Draw(t, "w")), ""}
			v.Labels = rapid.MapOf(text, text).Draw(t, "labels")
			v.Levels = map[word]level{"a": -1, word(text.Draw(t, "k")): 300}
			v.Compact = []compact{{A: -5}, {B: text.Draw(t, "b")}}
		}
		if depth > 0 && rapid.Bool().Draw(t, "deeper?") {
			o := genEverything(depth-1).Draw(t, "other")
			v.Other, v.Children = &o, []everything{o, {}}
		}
		return v
	})
}

// same is DeepEqual that lets NaN be itself, by way of the bytes.
func same(t interface{ Fatal(...any) }, a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	ea, err1 := CBOR.Marshal(a)
	eb, err2 := CBOR.Marshal(b)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return bytes.Equal(ea, eb)
}

func TestTheFastDecoderReadsWhatTheLibraryReads(t *testing.T) {
	slow := CBOR.(cborCodec).dec
	rapid.Check(t, func(t *rapid.T) {
		v := genEverything(2).Draw(t, "v")
		b, err := CBOR.Marshal(&v)
		if err != nil {
			t.Fatal(err)
		}
		var fast, lib everything
		if err := decodeFast(b, &fast, slow); err != nil {
			t.Fatal(err)
		}
		if err := slow.Unmarshal(b, &lib); err != nil {
			t.Fatal(err)
		}
		if !same(t, fast, lib) {
			t.Fatalf("fast %+v\nslow %+v", fast, lib)
		}
	})
}

func TestTheFastJSONDecoderReadsWhatTheLibraryReads(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := genEverything(2).Draw(t, "v")
		b, err := json.Marshal(&v)
		if err != nil {
			t.Skip("no JSON for it: ", err)
		}
		if rapid.Bool().Draw(t, "spaces?") { // as jsonb is printed, and wider
			var wide bytes.Buffer
			if err := json.Indent(&wide, b, "\r", "\t"); err != nil {
				t.Fatal(err)
			}
			b = wide.Bytes()
		}
		var fast, lib everything
		if err := json.Unmarshal(b, &lib); err != nil {
			t.Fatal(err)
		}
		if err := decodeJSON(b, &fast); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(fast, lib) {
			t.Fatalf("fast %+v\nslow %+v", fast, lib)
		}
	})
}

func FuzzDecodeJSON(f *testing.F) {
	f.Add([]byte(`{"text": "x\"", "words": ["a", null], "labels": {"a": null}, "until": null, "level": -3, "other": {"children": [{}]}}`))
	f.Add([]byte(`{"at": "2026-03-01T12:00:00.5Z", "ratio": 1e3, "raw": "AQI=", "TEXT": "y", "unknown": [{"x": "]}"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var fast, lib everything
		if err := decodeJSON(b, &fast); err != nil {
			return // the library does it
		}
		if !json.Valid(b) || !utf8.Valid(b) {
			return // not from jsonb
		}
		var keys map[string]json.RawMessage
		err := json.Unmarshal(b, &lib)
		if jerr := json.Unmarshal(b, &keys); jerr == nil && duplicated(b) {
			return // jsonb keeps each name once
		}
		if err != nil || !reflect.DeepEqual(fast, lib) {
			t.Errorf("fast %+v\nslow %+v, %v", fast, lib, err)
		}
	})
}

// duplicated tells whether an object somewhere in b has a name twice.
func duplicated(b []byte) bool {
	dec := json.NewDecoder(bytes.NewReader(b))
	var walk func() bool
	walk = func() bool {
		tok, err := dec.Token()
		if err != nil {
			return false
		}
		open, ok := tok.(json.Delim)
		seen := map[string]bool{}
		for ok && dec.More() {
			if open == '{' {
				name, err := dec.Token()
				key, _ := name.(string)
				if err != nil || seen[strings.ToLower(key)] {
					return true
				}
				seen[strings.ToLower(key)] = true
			}
			if walk() {
				return true
			}
		}
		if ok {
			_, err = dec.Token()
		}
		return err != nil
	}
	return walk()
}

func TestDocumentsOfOtherReleasesAreRead(t *testing.T) {
	type before struct {
		Gone  []map[string]int `json:"gone"`
		Kept  string           `json:"kept"`
		Case  int              `json:"CASE"`
		Wider int              `json:"wider"`
	}
	type after struct {
		Wider int64  `json:"wider"` // in another place
		Kept  string `json:"kept"`
		Case  int    `json:"case"`
		New   string `json:"new"`
	}
	b, err := CBOR.Marshal(before{[]map[string]int{{"x": 1}, nil}, "k", 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	var got after
	if err := CBOR.Unmarshal(b, &got); err != nil || got != (after{3, "k", 2, ""}) {
		t.Errorf("%+v, %v", got, err)
	}
	var wrong struct {
		Kept int `json:"kept"`
	}
	if err := CBOR.Unmarshal(b, &wrong); err == nil {
		t.Error("text was read as a number")
	}
}

func FuzzDecode(f *testing.F) {
	u := time.Unix(1, 2).UTC()
	for _, v := range []everything{{}, {Text: "x", At: u, Until: &u, Labels: map[string]string{"a": "b"}, Children: []everything{{}}}} {
		b, err := CBOR.Marshal(&v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	slow := CBOR.(cborCodec).dec
	f.Fuzz(func(t *testing.T, b []byte) {
		var fast, lib everything
		ferr := decodeFast(b, &fast, slow)
		if err := slow.Unmarshal(b, &lib); err != nil {
			return // not ours: whatever comes out is as good
		}
		again, err := CBOR.Marshal(&lib)
		if err != nil || !bytes.Equal(again, b) {
			return // nor this: we would not have written it so
		}
		if ferr != nil || !same(t, fast, lib) {
			t.Errorf("fast %+v, %v\nslow %+v", fast, ferr, lib)
		}
	})
}
