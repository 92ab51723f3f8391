package store

import (
	"encoding"
	"math"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"
)

// program decodes one value at d into the zero value of its type at p. It writes through the pointer, since
// setting fields by reflection takes a fifth of the time of a document.
type program func(d *document, p unsafe.Pointer) error

// document is what is being read: the whole of it, and how far.
type document struct {
	s     string
	at    int
	depth int
	slow  cbor.DecMode
}

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
		c := compiler{made: map[reflect.Type]*program{}}
		prog, _ = programs.LoadOrStore(t, c.compile(t))
	}
	d := documents.Get().(*document)
	*d = document{s: string(b), slow: slow}
	err := prog.(program)(d, p.UnsafePointer())
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
	if d.at < len(d.s) { // short, as names and most values are
		n := int(d.s[d.at]) - majorText<<5
		if from := d.at + 1; n >= 0 && n < 24 && n <= len(d.s)-from {
			d.at = from + n
			return d.s[from:d.at], nil
		}
	}
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
	made map[reflect.Type]*program // a type may hold itself
}

// ownWays are those of types that say themselves how they are read.
var ownWays = []reflect.Type{
	reflect.TypeFor[cbor.Unmarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler](),
}

func (c *compiler) compile(t reflect.Type) program {
	if p, ok := c.made[t]; ok {
		return func(d *document, at unsafe.Pointer) error { return (*p)(d, at) }
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
			return readSlow(t)
		}
	}
	switch t.Kind() {
	case reflect.String:
		return readString
	case reflect.Bool:
		return readBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return readInt(t)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return readUint(t)
	case reflect.Float64:
		return readFloat
	case reflect.Pointer:
		return readPointer(t, c.compile(t.Elem()))
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
	return readSlow(t)
}

// at is the value of type t that p points to, for what is not worth doing without reflection.
func at(t reflect.Type, p unsafe.Pointer) reflect.Value { return reflect.NewAt(t, p).Elem() }

// readSlow leaves one value to the library.
func readSlow(t reflect.Type) program {
	return func(d *document, p unsafe.Pointer) error {
		from := d.at
		if err := d.skip(); err != nil {
			return err
		}
		return d.slow.Unmarshal([]byte(d.s[from:d.at]), reflect.NewAt(t, p).Interface())
	}
}

func readString(d *document, p unsafe.Pointer) (err error) {
	*(*string)(p), err = d.text()
	return err
}

func readBool(d *document, p unsafe.Pointer) error {
	if d.at >= len(d.s) || d.s[d.at] != byteFalse && d.s[d.at] != byteTrue {
		return errSlow
	}
	*(*bool)(p) = d.s[d.at] == byteTrue
	d.at++
	return nil
}

func readInt(t reflect.Type) program {
	return func(d *document, p unsafe.Pointer) error {
		major, n, err := d.head()
		if err != nil || major > majorNint || n > math.MaxInt64 {
			return errSlow
		}
		i := int64(n)
		if major == majorNint {
			i = ^i
		}
		v := at(t, p)
		if v.OverflowInt(i) {
			return errSlow
		}
		v.SetInt(i)
		return nil
	}
}

func readUint(t reflect.Type) program {
	return func(d *document, p unsafe.Pointer) error {
		major, n, err := d.head()
		v := at(t, p)
		if err != nil || major != majorUint || v.OverflowUint(n) {
			return errSlow
		}
		v.SetUint(n)
		return nil
	}
}

func readFloat(d *document, p unsafe.Pointer) error {
	if d.at >= len(d.s) {
		return errSlow
	}
	b := d.s[d.at]
	if b != byteF32 && b != byteF64 {
		return errSlow
	}
	_, n, err := d.head()
	if b == byteF32 {
		*(*float64)(p) = float64(math.Float32frombits(uint32(n)))
	} else {
		*(*float64)(p) = math.Float64frombits(n)
	}
	return err
}

func readPointer(t reflect.Type, elem program) program {
	return func(d *document, p unsafe.Pointer) error {
		if d.null() {
			return nil
		}
		v := reflect.New(t.Elem())
		*(*unsafe.Pointer)(p) = v.UnsafePointer()
		return elem(d, v.UnsafePointer())
	}
}

func readBytes(d *document, p unsafe.Pointer) error {
	if d.null() {
		return nil
	}
	n, err := d.expect(majorBytes)
	if err != nil {
		return err
	}
	*(*[]byte)(p) = []byte(d.s[d.at : d.at+n])
	d.at += n
	return nil
}

func readSlice(t reflect.Type, elem program) program {
	size := t.Elem().Size()
	return func(d *document, p unsafe.Pointer) error {
		if d.null() {
			return nil
		}
		n, err := d.expect(majorArray)
		if err != nil {
			return err
		}
		v := at(t, p)
		if n == 0 {
			v.Set(reflect.MakeSlice(t, 0, 0)) // empty is not nil
			return nil
		}
		v.Grow(n)
		v.SetLen(n)
		first := v.UnsafePointer()
		for i := range n {
			if err := elem(d, unsafe.Add(first, uintptr(i)*size)); err != nil {
				return err
			}
		}
		return nil
	}
}

func readStringMap(d *document, p unsafe.Pointer) error {
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
	*(*map[string]string)(p) = m
	return nil
}

func readMap(t reflect.Type, elem program) program {
	return func(d *document, p unsafe.Pointer) error {
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
			val := reflect.New(t.Elem())
			if err := elem(d, val.UnsafePointer()); err != nil {
				return err
			}
			m.SetMapIndex(key, val.Elem())
		}
		at(t, p).Set(m)
		return nil
	}
}

// readTime reads the text of a time. A zero time is a null.
func readTime(d *document, p unsafe.Pointer) error {
	if d.null() {
		return nil
	}
	s, err := d.text()
	if err != nil {
		return err
	}
	*(*time.Time)(p), err = parseTime(s)
	return err
}

// structure makes the program of a struct, when it can.
func (c *compiler) structure(t reflect.Type) (program, bool) {
	fields, byName, ok := structFields(t, "cbor", c.compile)
	if !ok {
		return nil, false
	}
	return func(d *document, p unsafe.Pointer) error {
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
			if err := f.read(d, unsafe.Add(p, f.offset)); err != nil {
				return err
			}
		}
		return nil
	}, true
}
