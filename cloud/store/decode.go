package store

import (
	"errors"
	"reflect"
	"strings"
	"time"
)

// Reading a page of a timeline is mostly decoding its documents, so documents are read by programs made for
// their types: one copy of the document, of which all its strings are parts, and no check of what only a
// stranger could have got wrong. Whatever a program does not expect, in type or in bytes, goes to the
// library, which knows everything. decodecbor.go holds them for CBOR, decodejson.go for jsonb.

// errSlow sends a document to the library.
var errSlow = errors.New("not for the fast decoder")

// maxDepth bounds recursion.
const maxDepth = 64

var (
	timeType      = reflect.TypeFor[time.Time]()
	stringMapType = reflect.TypeFor[map[string]string]()
)

// setTime takes 2026-03-01T12:00:00.123456789Z, with or without a fraction, as UTC times are written.
func setTime(v reflect.Value, s string) error {
	if len(s) < 20 || len(s) > 30 || s[len(s)-1] != 'Z' || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return errSlow
	}
	bad := false
	number := func(digits string) (n int) {
		for _, c := range []byte(digits) {
			bad = bad || c < '0' || c > '9'
			n = 10*n + int(c-'0')
		}
		return n
	}
	year, month, day := number(s[:4]), number(s[5:7]), number(s[8:10])
	hour, minute, second := number(s[11:13]), number(s[14:16]), number(s[17:19])
	nano := 0
	if frac := s[19 : len(s)-1]; frac != "" {
		if frac[0] != '.' || len(frac) == 1 {
			return errSlow
		}
		nano = number(frac[1:])
		for range 10 - len(frac) {
			nano *= 10
		}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC)
	if bad || t.Day() != day || t.Month() != time.Month(month) || hour > 23 || minute > 59 || second > 59 {
		return errSlow
	}
	*v.Addr().Interface().(*time.Time) = t
	return nil
}

// field is where a name of a document goes.
type field[P any] struct {
	name  string
	index int
	read  P
}

// structFields lists the fields of a struct, unless it uses what only the library knows: embedding, names
// that clash, options, or the given tag.
func structFields[P any](t reflect.Type, not string, compile func(reflect.Type) P) (fields []field[P], byName map[string]int, ok bool) {
	byName = map[string]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		if _, has := f.Tag.Lookup(not); has && not != "" || f.Anonymous || f.Name == "_" {
			return nil, nil, false
		}
		if !f.IsExported() {
			continue
		}
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" && rest == "" {
			continue
		}
		if strings.Contains(rest, "string") || name == "-" {
			return nil, nil, false
		}
		if name == "" {
			name = f.Name
		}
		if _, has := byName[name]; has {
			return nil, nil, false
		}
		byName[name] = len(fields)
		fields = append(fields, field[P]{name, i, compile(f.Type)})
	}
	return fields, byName, true
}

// hasFold tells whether a name differs from a field's in the case of letters only, which the libraries
// forgive.
func hasFold[P any](fields []field[P], name string) bool {
	for _, f := range fields {
		if strings.EqualFold(f.name, name) {
			return true
		}
	}
	return false
}
