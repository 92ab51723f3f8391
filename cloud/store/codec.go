package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Codec turns documents into bytes and back. Implementations are safe for concurrent use.
type Codec interface {
	Marshal(v any) ([]byte, error)
	Unmarshal(b []byte, v any) error
}

// JSON is the codec of engines that keep documents as jsonb.
var JSON Codec = jsonCodec{}

// CBOR is the codec of engines that only keep bytes: on a timeline entry a tenth smaller than JSON and twice as
// fast in both directions (BenchmarkCodec). It goes by the same struct tags: cbor where present, json
// otherwise.
var CBOR Codec = newCBOR()

type jsonCodec struct{}

func (jsonCodec) Marshal(v any) ([]byte, error) { return json.Marshal(v) }

func (jsonCodec) Unmarshal(b []byte, v any) error {
	if err := decodeJSON(b, v); err == nil {
		return nil
	}
	zero(v)
	return json.Unmarshal(b, v)
}

// zero undoes what a fast decoder has begun.
func zero(v any) {
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && !p.IsNil() {
		p.Elem().SetZero()
	}
}

type cborCodec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCBOR() Codec {
	enc, err := cbor.EncOptions{
		Time:          cbor.TimeRFC3339NanoUTC,
		TextMarshaler: cbor.TextMarshalerTextString,
	}.EncMode()
	if err != nil {
		panic(err) // the options are constant
	}
	dec, err := cbor.DecOptions{
		// A document that was accepted must stay readable, whatever text it holds.
		UTF8:            cbor.UTF8DecodeInvalid,
		TextUnmarshaler: cbor.TextUnmarshalerTextString,
		MaxNestedLevels: 64,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return cborCodec{enc, dec}
}

func (c cborCodec) Marshal(v any) ([]byte, error) { return c.enc.Marshal(v) }

func (c cborCodec) Unmarshal(b []byte, v any) error {
	if err := decodeFast(b, v, c.dec); err == nil {
		return nil
	}
	zero(v)
	return c.dec.Unmarshal(b, v)
}

// checkDocType refuses types that would come back different from different engines: a value in an
// interface loses its type in one way through CBOR and in another through JSON.
func checkDocType(t reflect.Type) error { return checkType(t, t.String(), map[reflect.Type]bool{}) }

func checkType(t reflect.Type, path string, seen map[reflect.Type]bool) error {
	if seen[t] || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return fmt.Errorf("%s is of kind %s, which no document can hold", path, t.Kind())
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return checkType(t.Elem(), path, seen)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			return fmt.Errorf("%s: map keys must be strings", path)
		}
		return checkType(t.Elem(), path, seen)
	case reflect.Struct:
		for f := range t.Fields() {
			if !f.IsExported() && !f.Anonymous || f.Tag.Get("json") == "-" {
				continue
			}
			if err := checkType(f.Type, path+"."+f.Name, seen); err != nil {
				return err
			}
		}
	}
	return nil
}
