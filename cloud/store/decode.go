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

// parseTime takes 2026-03-01T12:00:00.123456789Z, with or without a fraction, as UTC times are written.
func parseTime(s string) (time.Time, error) {
	if len(s) < 20 || len(s) > 30 || s[len(s)-1] != 'Z' || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, errSlow
	}
	year, month, day := 100*digits(s[0:2])+digits(s[2:4]), digits(s[5:7]), digits(s[8:10])
	hour, minute, second := digits(s[11:13]), digits(s[14:16]), digits(s[17:19])
	if year < 0 || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 {
		return time.Time{}, errSlow
	}
	nano := 0
	if frac := s[19 : len(s)-1]; frac != "" {
		if frac[0] != '.' || len(frac) == 1 {
			return time.Time{}, errSlow
		}
		for _, c := range []byte(frac[1:]) {
			if c < '0' || c > '9' {
				return time.Time{}, errSlow
			}
			nano = 10*nano + int(c-'0')
		}
		for range 10 - len(frac) {
			nano *= 10
		}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nano, time.UTC)
	if day > 28 && t.Day() != day { // a day that its month does not have
		return time.Time{}, errSlow
	}
	return t, nil
}

// digits is the number that two digits make, far below zero when they are none.
func digits(s string) int {
	a, b := s[0]-'0', s[1]-'0'
	if a > 9 || b > 9 {
		return -1 << 20
	}
	return int(a)*10 + int(b)
}

// field is where a name of a document goes.
type field[P any] struct {
	name   string
	index  int
	offset uintptr
	read   P
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
		fields = append(fields, field[P]{name, i, f.Offset, compile(f.Type)})
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
