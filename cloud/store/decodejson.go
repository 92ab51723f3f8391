package store

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

// jsonProgram decodes one value at d into v, which is settable and zero. It has seen that it is not null.
type jsonProgram func(d *jsonDocument, v reflect.Value) error

// jsonDocument is what is being read: JSON as PostgreSQL prints it.
type jsonDocument struct {
	s     string
	at    int
	depth int
}

var (
	jsonPrograms  sync.Map // reflect.Type -> jsonProgram
	jsonDocuments = sync.Pool{New: func() any { return new(jsonDocument) }}
)

// decodeJSON decodes b into v, a pointer to a zero value. It returns an error when the library has to.
func decodeJSON(b []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return errSlow
	}
	t := p.Type().Elem()
	prog, ok := jsonPrograms.Load(t)
	if !ok {
		c := jsonCompiler{made: map[reflect.Type]*jsonProgram{}}
		prog, _ = jsonPrograms.LoadOrStore(t, c.compile(t))
	}
	d := jsonDocuments.Get().(*jsonDocument)
	*d = jsonDocument{s: string(b)}
	err := prog.(jsonProgram)(d, p.Elem())
	if d.space(); err == nil && d.at != len(d.s) {
		err = errSlow
	}
	d.s = ""
	jsonDocuments.Put(d)
	return err
}

func (d *jsonDocument) space() {
	for d.at < len(d.s) && (d.s[d.at] == ' ' || d.s[d.at] == '\n' || d.s[d.at] == '\t' || d.s[d.at] == '\r') {
		d.at++
	}
}

// take steps over c, after white space.
func (d *jsonDocument) take(c byte) bool {
	d.space()
	if d.at < len(d.s) && d.s[d.at] == c {
		d.at++
		return true
	}
	return false
}

func (d *jsonDocument) word(w string) bool {
	d.space()
	if strings.HasPrefix(d.s[d.at:], w) {
		d.at += len(w)
		return true
	}
	return false
}

// text reads a string. One without escapes, which nearly all are, is a part of the document.
func (d *jsonDocument) text() (string, error) {
	if !d.take('"') {
		return "", errSlow
	}
	from := d.at
	for ; d.at < len(d.s); d.at++ {
		switch c := d.s[d.at]; {
		case c == '"':
			d.at++
			return d.s[from : d.at-1], nil
		case c == '\\':
			return d.escaped(from - 1)
		case c < ' ':
			return "", errSlow
		}
	}
	return "", errSlow
}

// escaped reads a string with escapes, whose quote is at from, with the library.
func (d *jsonDocument) escaped(from int) (s string, err error) {
	d.at = from
	if err := d.skip(); err != nil {
		return "", err
	}
	return s, json.Unmarshal([]byte(d.s[from:d.at]), &s)
}

// number returns the text of a number.
func (d *jsonDocument) number() string {
	d.space()
	from := d.at
	for d.at < len(d.s) && strings.IndexByte("0123456789+-.eE", d.s[d.at]) >= 0 {
		d.at++
	}
	return d.s[from:d.at]
}

// skip steps over one value, whatever it is.
func (d *jsonDocument) skip() error {
	d.space()
	if d.at >= len(d.s) {
		return errSlow
	}
	switch d.s[d.at] {
	case '"':
		for d.at++; d.at < len(d.s); d.at++ {
			switch d.s[d.at] {
			case '\\':
				d.at++
			case '"':
				d.at++
				return nil
			}
		}
		return errSlow
	case '{', '[':
		for depth := 0; d.at < len(d.s); {
			switch d.s[d.at] {
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			case '"':
				if err := d.skip(); err != nil {
					return err
				}
				continue
			}
			if d.at++; depth == 0 {
				return nil
			}
		}
		return errSlow
	}
	if d.word("null") || d.word("true") || d.word("false") || d.number() != "" {
		return nil
	}
	return errSlow
}

type jsonCompiler struct {
	made map[reflect.Type]*jsonProgram
}

func (c *jsonCompiler) compile(t reflect.Type) jsonProgram {
	if p, ok := c.made[t]; ok {
		return func(d *jsonDocument, v reflect.Value) error { return (*p)(d, v) }
	}
	p := new(jsonProgram)
	c.made[t] = p
	*p = c.make(t)
	return *p
}

var jsonOwnWays = []reflect.Type{reflect.TypeFor[json.Unmarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()}

func (c *jsonCompiler) make(t reflect.Type) jsonProgram {
	if t == timeType {
		return func(d *jsonDocument, v reflect.Value) error {
			s, err := d.text()
			if err != nil {
				return err
			}
			at, err := parseTime(s)
			*v.Addr().Interface().(*time.Time) = at
			return err
		}
	}
	for _, w := range jsonOwnWays {
		if reflect.PointerTo(t).Implements(w) {
			return jsonSlow
		}
	}
	switch t.Kind() {
	case reflect.String:
		return func(d *jsonDocument, v reflect.Value) error {
			s, err := d.text()
			v.SetString(s)
			return err
		}
	case reflect.Bool:
		return func(d *jsonDocument, v reflect.Value) error {
			yes := d.word("true")
			if !yes && !d.word("false") {
				return errSlow
			}
			v.SetBool(yes)
			return nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return func(d *jsonDocument, v reflect.Value) error {
			n, err := strconv.ParseInt(d.number(), 10, 64)
			if err != nil || v.OverflowInt(n) {
				return errSlow
			}
			v.SetInt(n)
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(d *jsonDocument, v reflect.Value) error {
			n, err := strconv.ParseUint(d.number(), 10, 64)
			if err != nil || v.OverflowUint(n) {
				return errSlow
			}
			v.SetUint(n)
			return nil
		}
	case reflect.Float32, reflect.Float64:
		return func(d *jsonDocument, v reflect.Value) error {
			f, err := strconv.ParseFloat(d.number(), t.Bits())
			if err != nil {
				return errSlow
			}
			v.SetFloat(f)
			return nil
		}
	case reflect.Pointer:
		elem := c.compile(t.Elem())
		return func(d *jsonDocument, v reflect.Value) error {
			p := reflect.New(t.Elem())
			v.Set(p)
			return elem(d, p.Elem())
		}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return jsonBytes
		}
		return jsonSlice(t, c.compile(t.Elem()))
	case reflect.Map:
		if t == stringMapType {
			return jsonStringMap
		}
	case reflect.Struct:
		if fields, byName, ok := structFields(t, "", c.compile); ok {
			return jsonStruct(fields, byName)
		}
	}
	return jsonSlow
}

// jsonSlow leaves one value to the library.
func jsonSlow(d *jsonDocument, v reflect.Value) error {
	d.space()
	from := d.at
	if err := d.skip(); err != nil {
		return err
	}
	return json.Unmarshal([]byte(d.s[from:d.at]), v.Addr().Interface())
}

func jsonBytes(d *jsonDocument, v reflect.Value) error {
	s, err := d.text()
	if err != nil {
		return err
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return errSlow
	}
	v.SetBytes(b)
	return nil
}

func jsonSlice(t reflect.Type, elem jsonProgram) jsonProgram {
	return func(d *jsonDocument, v reflect.Value) error {
		if !d.take('[') {
			return errSlow
		}
		if d.take(']') {
			v.Set(reflect.MakeSlice(t, 0, 0))
			return nil
		}
		for n := 0; ; n++ {
			v.Grow(1)
			v.SetLen(n + 1)
			if !d.word("null") {
				if err := elem(d, v.Index(n)); err != nil {
					return err
				}
			}
			if d.take(']') {
				return nil
			}
			if !d.take(',') {
				return errSlow
			}
		}
	}
}

// members calls each with the names of an object, behind their colons.
func (d *jsonDocument) members(each func(name string) error) error {
	if d.depth++; d.depth > maxDepth || !d.take('{') {
		return errSlow
	}
	defer func() { d.depth-- }()
	if d.take('}') {
		return nil
	}
	for {
		name, err := d.text()
		if err != nil || !d.take(':') {
			return errSlow
		}
		if err := each(name); err != nil {
			return err
		}
		if d.take('}') {
			return nil
		}
		if !d.take(',') {
			return errSlow
		}
	}
}

func jsonStringMap(d *jsonDocument, v reflect.Value) error {
	m := map[string]string{}
	err := d.members(func(name string) error {
		if d.word("null") {
			m[name] = ""
			return nil
		}
		s, err := d.text()
		m[name] = s
		return err
	})
	*v.Addr().Interface().(*map[string]string) = m
	return err
}

func jsonStruct(fields []field[jsonProgram], byName map[string]int) jsonProgram {
	return func(d *jsonDocument, v reflect.Value) error {
		return d.members(func(name string) error {
			at, ok := byName[name] // jsonb has an order of its own, by length
			if !ok {
				if hasFold(fields, name) {
					return errSlow
				}
				return d.skip()
			}
			if d.word("null") {
				return nil
			}
			return fields[at].read(d, v.Field(fields[at].index))
		})
	}
}
