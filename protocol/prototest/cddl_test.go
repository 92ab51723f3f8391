package prototest_test

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/hearthline/hearthline/protocol/prototest"
)

// cddl reads as much of RFC 8610 as protocol/hearthline.cddl uses and refuses the rest: rules, choices,
// literals, ranges, .size and .regexp, maps, and arrays of one kind of element. It is here because the tools
// that validate CBOR are gems, crates and Python packages, none of which the tests could install.
type cddl struct {
	tokens []string
	rules  map[string]rule
}

// rule says why a decoded value is not of its type.
type rule func(v any) error

// member is one entry of a map or the element of an array, with how often it occurs.
type member struct {
	least, most int
	key, value  rule
}

var token = regexp.MustCompile(`;[^\n]*|"[^"]*"|\.\.|\.size|\.regexp|=>|-?[0-9]+|[a-z][a-z0-9-]*|[^\s]`)

func parseCDDL(text string) (_ *cddl, err error) {
	c := &cddl{rules: map[string]rule{
		"text": is[string]("text"), "bytes": is[[]byte]("bytes"), "bool": is[bool]("bool"), "float": is[float64]("float"),
		"int":  func(v any) error { _, err := integer(v); return err },
		"uint": between(new(big.Int), new(big.Int).SetUint64(1<<64-1)),
		"null": func(v any) error { return unless(v == nil, v, "null") },
	}}
	for _, t := range token.FindAllString(text, -1) {
		if t[0] != ';' {
			c.tokens = append(c.tokens, t)
		}
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v before %q", r, c.tokens[:min(len(c.tokens), 6)])
		}
	}()
	var used []string
	for len(c.tokens) > 0 {
		name := c.next()
		c.expect("=")
		if c.rules[name] != nil {
			panic("a second rule " + name)
		}
		c.rules[name] = c.choice(&used)
	}
	for _, name := range used {
		if c.rules[name] == nil {
			return nil, fmt.Errorf("no rule %s", name)
		}
	}
	return c, nil
}

func (c *cddl) peek() string { return append(c.tokens, "")[0] }

func (c *cddl) next() (t string) {
	t, c.tokens = c.tokens[0], c.tokens[1:]
	return t
}

func (c *cddl) took(t string) bool {
	if c.peek() != t {
		return false
	}
	c.next()
	return true
}

func (c *cddl) expect(t string) {
	if !c.took(t) {
		panic("want " + t)
	}
}

func (c *cddl) choice(used *[]string) rule {
	options := []rule{c.one(used)}
	for c.took("/") {
		options = append(options, c.one(used))
	}
	return func(v any) error {
		var all []error
		for _, o := range options {
			err := o(v)
			if err == nil {
				return nil
			}
			all = append(all, err)
		}
		return errors.Join(all...)
	}
}

func (c *cddl) one(used *[]string) rule {
	t := c.next()
	switch {
	case t == "{":
		return mapOf(c.members("}", used))
	case t == "[":
		m := c.members("]", used)
		if len(m) != 1 {
			panic("want one kind of element")
		}
		return arrayOf(m[0])
	case t[0] == '"':
		return func(v any) error { return unless(v == strings.Trim(t, `"`), v, t) }
	case number(t) != nil:
		least, most := number(t), number(t)
		if c.took("..") {
			most = number(c.next())
		}
		return between(least, most)
	}
	*used = append(*used, t)
	base := func(v any) error { return c.rules[t](v) }
	switch {
	case c.took(".size"):
		c.expect("(")
		least := number(c.next())
		c.expect("..")
		most := number(c.next())
		c.expect(")")
		return func(v any) error {
			s, _ := v.(string)
			b, _ := v.([]byte)
			n := big.NewInt(int64(len(s) + len(b)))
			return errors.Join(base(v), unless(n.Cmp(least) >= 0 && n.Cmp(most) <= 0, v, "of the right size"))
		}
	case c.took(".regexp"):
		whole := regexp.MustCompile("^(" + strings.Trim(c.next(), `"`) + ")$")
		return func(v any) error {
			s, ok := v.(string)
			return unless(ok && whole.MatchString(s), v, whole.String())
		}
	}
	return base
}

func (c *cddl) members(end string, used *[]string) (list []member) {
	for !c.took(end) {
		m := member{least: 1, most: 1}
		switch {
		case c.took("?"):
			m.least = 0
		case c.peek() == "*" || c.tokens[1] == "*":
			m.least, m.most = 0, 1<<30
			if n := number(c.peek()); n != nil {
				m.least = int(n.Int64())
				c.next()
			}
			c.expect("*")
			if n := number(c.peek()); n != nil {
				m.most = int(n.Int64())
				c.next()
			}
		}
		m.value = c.choice(used)
		if c.took(":") || c.took("=>") {
			m.key, m.value = m.value, c.choice(used)
		}
		if (m.key != nil) != (end == "}") {
			panic("want a key in a map and none in an array")
		}
		list = append(list, m)
		c.took(",")
	}
	return list
}

func mapOf(members []member) rule {
	return func(v any) error {
		pairs, ok := v.(map[any]any)
		if !ok {
			return unless(false, v, "a map")
		}
		count := make([]int, len(members))
		for k, v := range pairs {
			i := slices.IndexFunc(members, func(m member) bool { return m.key(k) == nil })
			if i < 0 {
				return fmt.Errorf("key %v is unknown", k)
			}
			count[i]++
			if err := members[i].value(v); err != nil {
				return fmt.Errorf("%v: %w", k, err)
			}
		}
		for i, m := range members {
			if count[i] < m.least || count[i] > m.most {
				return fmt.Errorf("entry %d of the map is there %d times, want %d to %d", i, count[i], m.least, m.most)
			}
		}
		return nil
	}
}

func arrayOf(m member) rule {
	return func(v any) error {
		list, ok := v.([]any)
		if !ok || len(list) < m.least || len(list) > m.most {
			return unless(false, v, fmt.Sprintf("an array of %d to %d", m.least, m.most))
		}
		for i, v := range list {
			if err := m.value(v); err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
		}
		return nil
	}
}

func is[T any](what string) rule {
	return func(v any) error { _, ok := v.(T); return unless(ok, v, what) }
}

func between(least, most *big.Int) rule {
	return func(v any) error {
		n, err := integer(v)
		if err != nil {
			return err
		}
		return unless(n.Cmp(least) >= 0 && n.Cmp(most) <= 0, v, fmt.Sprintf("%s..%s", least, most))
	}
}

func integer(v any) (*big.Int, error) {
	switch v := v.(type) {
	case uint64:
		return new(big.Int).SetUint64(v), nil
	case int64:
		return big.NewInt(v), nil
	}
	return nil, unless(false, v, "an integer")
}

func number(t string) *big.Int {
	n, ok := new(big.Int).SetString(t, 10)
	if !ok {
		return nil
	}
	return n
}

func unless(ok bool, v any, want string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("%v is not %s", v, want)
}

func TestEveryMessageIsAsTheCDDLSays(t *testing.T) {
	text, err := os.ReadFile("../hearthline.cddl")
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseCDDL(string(text))
	if err != nil {
		t.Fatal(err)
	}
	checked := map[string]bool{}
	for _, m := range prototest.Messages() {
		name, variant, _ := strings.Cut(m.Name, "_")
		if variant == "signed" {
			continue // COSE, as RFC 9052 says
		}
		t.Run(m.Name, func(t *testing.T) {
			var v map[any]any
			if err := cbor.Unmarshal(m.Bytes, &v); err != nil {
				t.Fatal(err)
			}
			if c.rules[name] == nil {
				t.Fatalf("no rule %s", name)
			}
			if err := c.rules[name](v); err != nil {
				t.Error(err)
			}
			checked[name] = true
			for k := range v { // and a message that is not is refused
				bad := maps.Clone(v)
				bad[k] = nil
				if c.rules[name](bad) == nil {
					t.Errorf("accepted with null for %v", k)
				}
			}
			bad := maps.Clone(v)
			bad[uint64(99)] = uint64(1)
			if c.rules[name](bad) == nil {
				t.Error("accepted with an unknown key")
			}
			bad = maps.Clone(v)
			delete(bad, uint64(0))
			if c.rules[name](bad) == nil {
				t.Error("accepted without its first field")
			}
		})
	}
	if len(checked) != 12 {
		t.Errorf("checked %v", checked)
	}
}
