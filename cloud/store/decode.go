package store

import (
	"encoding"
	"errors"
	"math"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Reading a page of a timeline is mostly decoding its documents, so the documents that the CBOR codec writes
// are read by programs made for their types: one copy of the document, of which all its strings are parts,
// and no check of what only a stranger could have got wrong. Whatever a program does not expect, in type or
// in bytes, goes to the library, which knows everything.

// program decodes one value at d into v, which is settable and zero.
type program func(d *document, v reflect.Value) error

// document is what is being read: the whole of it, and how far.
type document struct {
	s     string
	at    int
	depth int
	slow  cbor.DecMode
}

// errSlow sends a document to the library.
var errSlow = errors.New("not for the fast decoder")

// maxDepth bounds recursion, like the library's own limit.
const maxDepth = 64

// programs are kept for good: there are as many as types of documents.
var programs sync.Map // reflect.Type -> program

// decodeFast decodes b into v, a pointer to a zero value. It returns errSlow when the library has to.
func decodeFast(b []byte, v any, slow cbor.DecMode) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return errSlow
	}
	t := p.Type().Elem()
	prog, ok := programs.Load(t)
	if !ok {
		c := compiler{slow: slow, made: map[reflect.Type]*program{}}
		prog, _ = programs.LoadOrStore(t, c.compile(t))
	}
	d := documents.Get().(*document)
	*d = document{s: string(b), slow: slow}
	err := prog.(program)(d, p.Elem())
	if err == nil && d.at != len(d.s) {
		err = errSlow
	}
	d.s = ""
	documents.Put(d)
	return err
}

var documents = sync.Pool{New: func() any { return new(document) }}

// Major types and values of RFC 8949.
const (
	majorUint  = 0
	majorNint  = 1
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	byteFalse  = 0xf4
	byteTrue   = 0xf5
	byteNull   = 0xf6
	byteF32    = 0xfa
	byteF64    = 0xfb
)

// null steps over a null.
func (d *document) null() bool {
	if d.at < len(d.s) && d.s[d.at] == byteNull {
		d.at++
		return true
	}
	return false
}

// head reads a head of a definite length.
func (d *document) head() (major byte, arg uint64, err error) {
	if d.at >= len(d.s) {
		return 0, 0, errSlow
	}
	b := d.s[d.at]
	major, info := b>>5, b&31
	d.at++
	if info < 24 {
		return major, uint64(info), nil
	}
	n := 1 << (info - 24)
	if info > 27 || len(d.s)-d.at < n {
		return 0, 0, errSlow
	}
	for _, c := range []byte(d.s[d.at : d.at+n]) {
		arg = arg<<8 | uint64(c)
	}
	d.at += n
	return major, arg, nil
}

// expect reads the head of a certain major type whose argument is a number of bytes or items that can be
// there.
func (d *document) expect(want byte) (int, error) {
	major, n, err := d.head()
	if err != nil || major != want || n > uint64(len(d.s)-d.at) {
		return 0, errSlow
	}
	return int(n), nil
}

func (d *document) text() (string, error) {
	n, err := d.expect(majorText)
	if err != nil {
		return "", err
	}
	s := d.s[d.at : d.at+n]
	d.at += n
	return s, nil
}

// skip steps over one item, whatever it is.
func (d *document) skip() error {
	if d.depth++; d.depth > maxDepth {
		return errSlow
	}
	defer func() { d.depth-- }()
	major, n, err := d.head()
	if err != nil {
		return err
	}
	switch major {
	case majorBytes, majorText:
		if n > uint64(len(d.s)-d.at) {
			return errSlow
		}
		d.at += int(n)
	case majorArray, majorMap:
		if n > uint64(len(d.s)-d.at) {
			return errSlow
		}
		if major == majorMap {
			n *= 2
		}
		for range n {
			if err := d.skip(); err != nil {
				return err
			}
		}
	case 6: // a tag
		return d.skip()
	}
	return nil
}

type compiler struct {
	slow cbor.DecMode
	made map[reflect.Type]*program // a type may hold itself
}

var (
	timeType      = reflect.TypeFor[time.Time]()
	stringMapType = reflect.TypeFor[map[string]string]()
	ownWays       = []reflect.Type{ // types that say themselves how they are read
		reflect.TypeFor[cbor.Unmarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
	}
)

func (c *compiler) compile(t reflect.Type) program {
	if p, ok := c.made[t]; ok {
		return func(d *document, v reflect.Value) error { return (*p)(d, v) }
	}
	p := new(program)
	c.made[t] = p
	*p = c.make(t)
	return *p
}

func (c *compiler) make(t reflect.Type) program {
	if t == timeType {
		return readTime
	}
	for _, w := range ownWays {
		if reflect.PointerTo(t).Implements(w) {
			return readSlow
		}
	}
	switch t.Kind() {
	case reflect.String:
		return readString
	case reflect.Bool:
		return readBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return readInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return readUint
	case reflect.Float32, reflect.Float64:
		return readFloat
	case reflect.Pointer:
		elem := c.compile(t.Elem())
		return func(d *document, v reflect.Value) error {
			if d.null() {
				return nil
			}
			p := reflect.New(t.Elem())
			v.Set(p)
			return elem(d, p.Elem())
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return readBytes
		}
		return readSlice(t, c.compile(t.Elem()))
	case reflect.Map:
		if t == stringMapType {
			return readStringMap
		}
		if t.Key().Kind() == reflect.String {
			return readMap(t, c.compile(t.Elem()))
		}
	case reflect.Struct:
		if p, ok := c.structure(t); ok {
			return p
		}
	}
	return readSlow
}

// readSlow leaves one value to the library.
func readSlow(d *document, v reflect.Value) error {
	from := d.at
	if err := d.skip(); err != nil {
		return err
	}
	return d.slow.Unmarshal([]byte(d.s[from:d.at]), v.Addr().Interface())
}

func readString(d *document, v reflect.Value) error {
	s, err := d.text()
	if err != nil {
		return err
	}
	v.SetString(s)
	return nil
}

func readBool(d *document, v reflect.Value) error {
	if d.at >= len(d.s) || d.s[d.at] != byteFalse && d.s[d.at] != byteTrue {
		return errSlow
	}
	v.SetBool(d.s[d.at] == byteTrue)
	d.at++
	return nil
}

func readInt(d *document, v reflect.Value) error {
	major, n, err := d.head()
	if err != nil || major > majorNint || n > math.MaxInt64 {
		return errSlow
	}
	i := int64(n)
	if major == majorNint {
		i = ^i
	}
	if v.OverflowInt(i) {
		return errSlow
	}
	v.SetInt(i)
	return nil
}

func readUint(d *document, v reflect.Value) error {
	major, n, err := d.head()
	if err != nil || major != majorUint || v.OverflowUint(n) {
		return errSlow
	}
	v.SetUint(n)
	return nil
}

func readFloat(d *document, v reflect.Value) error {
	if d.at >= len(d.s) {
		return errSlow
	}
	b := d.s[d.at]
	if b != byteF32 && b != byteF64 {
		return errSlow
	}
	_, n, err := d.head()
	if err != nil {
		return err
	}
	f := math.Float64frombits(n)
	if b == byteF32 {
		f = float64(math.Float32frombits(uint32(n)))
	}
	if v.OverflowFloat(f) {
		return errSlow
	}
	v.SetFloat(f)
	return nil
}

func readBytes(d *document, v reflect.Value) error {
	if d.null() {
		return nil
	}
	n, err := d.expect(majorBytes)
	if err != nil {
		return err
	}
	v.SetBytes([]byte(d.s[d.at : d.at+n]))
	d.at += n
	return nil
}

func readSlice(t reflect.Type, elem program) program {
	return func(d *document, v reflect.Value) error {
		if d.null() {
			return nil
		}
		n, err := d.expect(majorArray)
		if err != nil {
			return err
		}
		if n == 0 {
			v.Set(reflect.MakeSlice(t, 0, 0)) // empty is not nil
			return nil
		}
		v.Grow(n)
		v.SetLen(n)
		for i := range n {
			if err := elem(d, v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
}

func readStringMap(d *document, v reflect.Value) error {
	if d.null() {
		return nil
	}
	n, err := d.expect(majorMap)
	if err != nil {
		return err
	}
	m := make(map[string]string, n)
	for range n {
		key, err := d.text()
		if err != nil {
			return err
		}
		if m[key], err = d.text(); err != nil {
			return err
		}
	}
	*v.Addr().Interface().(*map[string]string) = m
	return nil
}

func readMap(t reflect.Type, elem program) program {
	return func(d *document, v reflect.Value) error {
		if d.null() {
			return nil
		}
		n, err := d.expect(majorMap)
		if err != nil {
			return err
		}
		m := reflect.MakeMapWithSize(t, n)
		for range n {
			s, err := d.text()
			if err != nil {
				return err
			}
			key := reflect.New(t.Key()).Elem()
			key.SetString(s)
			val := reflect.New(t.Elem()).Elem()
			if err := elem(d, val); err != nil {
				return err
			}
			m.SetMapIndex(key, val)
		}
		v.Set(m)
		return nil
	}
}

// readTime reads the text of a time. A zero time is a null.
func readTime(d *document, v reflect.Value) error {
	if d.null() {
		return nil
	}
	s, err := d.text()
	if err != nil {
		return err
	}
	return setTime(v, s)
}

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

// structure makes the program of a struct, when it can.
func (c *compiler) structure(t reflect.Type) (program, bool) {
	fields, byName, ok := structFields(t, "cbor", c.compile)
	if !ok {
		return nil, false
	}
	return func(d *document, v reflect.Value) error {
		if d.null() {
			return nil
		}
		if d.depth++; d.depth > maxDepth {
			return errSlow
		}
		defer func() { d.depth-- }()
		n, err := d.expect(majorMap)
		if err != nil {
			return err
		}
		next := 0 // fields mostly come in their own order, with some left out
		for range n {
			name, err := d.text()
			if err != nil {
				return err
			}
			for next < len(fields) && fields[next].name != name {
				next++
			}
			at := next
			if at == len(fields) {
				next = 0
				var ok bool
				if at, ok = byName[name]; !ok {
					if hasFold(fields, name) {
						return errSlow
					}
					if err := d.skip(); err != nil { // a field of an earlier release
						return err
					}
					continue
				}
			}
			f := &fields[at]
			next = at + 1
			if d.null() { // the zero value stays
				continue
			}
			if err := f.read(d, v.Field(f.index)); err != nil {
				return err
			}
		}
		return nil
	}, true
}
