package store

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"
)

// Kind is the type of a key part.
type Kind uint8

// The kinds of key parts. They order as bytes, numbers and instants do.
const (
	KindText Kind = iota // text COLLATE "C" on PostgreSQL
	KindInt              // bigint
	KindTime             // timestamptz; kept to the microsecond
)

func (k Kind) String() string { return [...]string{"text", "int", "time"}[k] }

// Column is a named, typed part of a key. Columns of one table that share a name share the value.
type Column struct {
	Name string // lower case letters, digits and underscores; becomes a column of that name
	Kind Kind
}

// Columns are the parts of a key, most significant first.
type Columns []Column

// Text declares a text column: any string type. Valid UTF-8 without NUL, at most 1,024 bytes.
func Text(name string) Column { return Column{name, KindText} }

// Int declares an integer column: any signed integer type, or an unsigned one within int64.
func Int(name string) Column { return Column{name, KindInt} }

// Time declares an instant. Anything finer than a microsecond is cut off in the key (not in the document).
func Time(name string) Column { return Column{name, KindTime} }

// Key is a key or its leading part: strings (of any string type), integers and time.Time, as declared.
type Key []any

// MaxText is the longest text allowed in a key, in bytes.
const MaxText = 1024

var (
	minTime = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	maxTime = time.Date(9999, 12, 31, 23, 59, 59, 999_999_000, time.UTC).UnixMicro()
)

// AppendKey appends the encoding of key to dst. The encodings of two keys of the same columns compare, as
// bytes, like the keys themselves; the encoding of a leading part is a prefix of the whole. Text is
// followed by a zero byte; integers and microseconds since 1970 are eight bytes, big-endian, sign flipped.
func AppendKey(dst []byte, cols Columns, key Key) ([]byte, error) {
	if len(key) > len(cols) {
		return dst, fmt.Errorf("%w: key of %d parts for %d columns", ErrInvalid, len(key), len(cols))
	}
	for i, part := range key {
		s, n, err := canonical(cols[i], part)
		if err != nil {
			return dst, err
		}
		if cols[i].Kind == KindText {
			dst = append(append(dst, s...), 0)
		} else {
			dst = binary.BigEndian.AppendUint64(dst, uint64(n)^1<<63)
		}
	}
	return dst, nil
}

// Values checks key and returns its parts as string, int64 and time.Time (UTC, whole microseconds).
func Values(cols Columns, key Key) ([]any, error) {
	if len(key) > len(cols) {
		return nil, fmt.Errorf("%w: key of %d parts for %d columns", ErrInvalid, len(key), len(cols))
	}
	out := make([]any, len(key))
	for i, part := range key {
		s, n, err := canonical(cols[i], part)
		if err != nil {
			return nil, err
		}
		switch cols[i].Kind {
		case KindText:
			out[i] = s
		case KindInt:
			out[i] = n
		default:
			out[i] = time.UnixMicro(n).UTC()
		}
	}
	return out, nil
}

// CutKey reads the parts of cols from the front of b, as AppendKey wrote them, and returns the rest.
func CutKey(b []byte, cols Columns) (key Key, rest []byte, err error) {
	key = make(Key, len(cols))
	for i, c := range cols {
		n := partLen(b, c.Kind)
		if n < 0 {
			return nil, nil, fmt.Errorf("%w: key ends within %q", ErrInvalid, c.Name)
		}
		switch c.Kind {
		case KindText:
			key[i] = string(b[:n-1])
		case KindInt:
			key[i] = int64(binary.BigEndian.Uint64(b) ^ 1<<63)
		default:
			key[i] = time.UnixMicro(int64(binary.BigEndian.Uint64(b) ^ 1<<63)).UTC()
		}
		b = b[n:]
	}
	return key, b, nil
}

// SkipKey returns what follows the parts of cols at the front of b, or nil when b is too short.
func SkipKey(b []byte, cols Columns) []byte {
	for _, c := range cols {
		n := partLen(b, c.Kind)
		if n < 0 {
			return nil
		}
		b = b[n:]
	}
	return b
}

// partLen is the encoded length of the part at the front of b, or -1.
func partLen(b []byte, k Kind) int {
	if k != KindText {
		if len(b) < 8 {
			return -1
		}
		return 8
	}
	for i, c := range b {
		if c == 0 {
			return i + 1
		}
	}
	return -1
}

// canonical returns part as the string or number that column c holds.
func canonical(c Column, part any) (s string, n int64, err error) {
	switch c.Kind {
	case KindText:
		var ok bool
		if s, ok = part.(string); !ok {
			v := reflect.ValueOf(part)
			if v.Kind() != reflect.String {
				return "", 0, fmt.Errorf("%w: column %q wants text, not %T", ErrInvalid, c.Name, part)
			}
			s = v.String()
		}
		return s, 0, checkText(c.Name, s)
	case KindInt:
		switch x := part.(type) {
		case int64:
			return "", x, nil
		case int:
			return "", int64(x), nil
		}
		v := reflect.ValueOf(part)
		switch {
		case v.CanInt():
			return "", v.Int(), nil
		case v.CanUint() && v.Uint() <= 1<<63-1:
			return "", int64(v.Uint()), nil
		}
		return "", 0, fmt.Errorf("%w: column %q wants an integer within int64, not %T", ErrInvalid, c.Name, part)
	default:
		t, ok := part.(time.Time)
		if !ok {
			return "", 0, fmt.Errorf("%w: column %q wants a time.Time, not %T", ErrInvalid, c.Name, part)
		}
		if n = t.UnixMicro(); n < minTime || n > maxTime {
			return "", 0, fmt.Errorf("%w: column %q: time outside the years 1 to 9999", ErrInvalid, c.Name)
		}
		return "", n, nil
	}
}

func checkText(name, s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("%w: column %q: text of %d bytes, at most %d", ErrInvalid, name, len(s), MaxText)
	}
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return fmt.Errorf("%w: column %q: text with a NUL or invalid UTF-8", ErrInvalid, name)
	}
	return nil
}

// CheckTenant returns ErrInvalid unless t is 1 to 64 characters of A-Z, a-z, 0-9, _ and -.
func CheckTenant(t string) error {
	ok := len(t) >= 1 && len(t) <= 64
	for i := 0; ok && i < len(t); i++ {
		c := t[i]
		ok = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
	}
	if !ok {
		return fmt.Errorf("%w: tenant %q", ErrInvalid, t)
	}
	return nil
}
