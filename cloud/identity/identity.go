// Package identity knows the people: who they are, how they can be reached, and in which home they live or
// lived, from when until when. A home is not a person: phones and devices that a family shares belong to
// the home, and one number may lead to several people.
package identity

import (
	"errors"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Limits of a customer.
const (
	MaxName        = 120 // bytes
	MaxIdentifiers = 16  // phones, e-mails and accounts, each
)

func one(name string, of func(*cloud.Customer) []string) store.Index[cloud.Customer] {
	return store.Index[cloud.Customer]{
		Name: "by_" + name,
		On:   store.Columns{store.Text(name)},
		Each: func(c *cloud.Customer) (keys []store.Key) {
			for _, v := range of(c) {
				keys = append(keys, store.Key{v})
			}
			return keys
		},
	}
}

var customers = store.NewTable("customers", store.Spec[cloud.Customer]{
	Key:   store.Columns{store.Text("customer")},
	KeyOf: func(c *cloud.Customer) store.Key { return store.Key{c.ID} },
	Indexes: []store.Index[cloud.Customer]{
		one("phone", func(c *cloud.Customer) []string { return c.Phones }),
		one("email", func(c *cloud.Customer) []string { return c.Emails }),
		one("account", func(c *cloud.Customer) []string { return c.Accounts }),
		one("word", func(c *cloud.Customer) []string { return Words(c.Name) }),
	},
})

var memberships = store.NewTable("memberships", store.Spec[cloud.Membership]{
	Key:   store.Columns{store.Text("home"), store.Text("customer"), store.Time("begins")},
	KeyOf: func(m *cloud.Membership) store.Key { return store.Key{m.Home, m.Customer, m.Begin} },
	Indexes: []store.Index[cloud.Membership]{{
		Name: "by_customer",
		On:   store.Columns{store.Text("customer"), store.Time("begins")},
		Of:   func(m *cloud.Membership) store.Key { return store.Key{m.Customer, m.Begin} },
	}},
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{customers, memberships} }

// Add checks a customer, brings the identifiers to the form in which they are looked up, and writes it. An
// empty id gets a new one. Numbers without a country code are taken to be of region ("DE"). It returns a
// cloud.Error that names the field, or CodeConflict when the id is taken.
func Add(tx store.Tx, c cloud.Customer, region string) (cloud.Customer, error) {
	if c.ID == "" {
		c.ID = cloud.NewID()
	}
	if err := protocol.CheckID("id", c.ID); err != nil {
		return c, cloud.Invalid("id", "%s", err)
	}
	c.Name = strings.TrimSpace(c.Name)
	if c.Name == "" || len(c.Name) > MaxName {
		return c, cloud.Invalid("name", "want 1 to %d bytes, got %d", MaxName, len(c.Name))
	}
	for _, f := range []struct {
		field string
		list  *[]string
		form  func(string) (string, error)
	}{
		{"phones", &c.Phones, func(s string) (string, error) { return Phone(s, region) }},
		{"emails", &c.Emails, Email},
		{"accounts", &c.Accounts, Account},
	} {
		if len(*f.list) > MaxIdentifiers {
			return c, cloud.Invalid(f.field, "want at most %d, got %d", MaxIdentifiers, len(*f.list))
		}
		clean := []string{} // a list in JSON, never null
		for _, raw := range *f.list {
			v, err := f.form(raw)
			if err != nil {
				return c, cloud.Invalid(f.field, "%s", err)
			}
			if !slices.Contains(clean, v) {
				clean = append(clean, v)
			}
		}
		*f.list = clean
	}
	err := customers.Insert(tx, &c)
	if errors.Is(err, store.ErrExists) {
		return c, cloud.Errorf(cloud.CodeConflict, "there is a customer with this id")
	}
	return c, err
}

// Get returns a customer, or store.ErrNotFound.
func Get(tx store.Tx, id string) (cloud.Customer, error) { return customers.Get(tx, id) }

// maxShared is how many customers of one identifier are looked at: a reception desk's number, not a family's.
const maxShared = 32

// ByPhone returns the customers of a number in E.164, the longest known first.
func ByPhone(tx store.Tx, phone string) ([]cloud.Customer, error) { return by(tx, "by_phone", phone) }

// ByEmail returns the customers of an address in lower case, the longest known first.
func ByEmail(tx store.Tx, email string) ([]cloud.Customer, error) { return by(tx, "by_email", email) }

// ByAccount returns the customers of an account in the vendor's app, the longest known first.
func ByAccount(tx store.Tx, account string) ([]cloud.Customer, error) {
	return by(tx, "by_account", account)
}

func by(tx store.Tx, index, value string) ([]cloud.Customer, error) {
	var out []cloud.Customer
	for c, err := range customers.Scan(tx, store.Range{Index: index, Prefix: store.Key{value}, Limit: maxShared}) {
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b cloud.Customer) int { return a.Since.Compare(b.Since) })
	return out, nil
}

// ByName returns up to limit customers whose name has a word that begins with each word of q.
func ByName(tx store.Tx, q string, limit int) ([]cloud.Customer, error) {
	wanted := Words(q)
	if len(wanted) == 0 {
		return nil, nil
	}
	longest := slices.MaxFunc(wanted, func(a, b string) int { return len(a) - len(b) })
	if isHan(q) {
		longest, wanted = wanted[0], wanted[:1] // the first suffix is the whole of what was typed
	}
	var out []cloud.Customer
	seen := map[string]bool{}
	looked := 0
	for c, err := range customers.Scan(tx, store.Range{Index: "by_word", From: longest, To: longest + "\U0010FFFF"}) {
		if err != nil {
			return nil, err
		}
		if looked++; len(out) == limit || looked > 50*limit {
			break
		}
		if !seen[c.ID] && hasAll(Words(c.Name), wanted) {
			seen[c.ID] = true
			out = append(out, c)
		}
	}
	return out, nil
}

func hasAll(have, wanted []string) bool {
	for _, w := range wanted {
		if !slices.ContainsFunc(have, func(h string) bool { return strings.HasPrefix(h, w) }) {
			return false
		}
	}
	return true
}

// Words are the beginnings by which a name is found: its words in lower case and, where a script does not
// put spaces between words, the name from each character on.
func Words(name string) []string {
	var out []string
	for _, w := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.IsMark(r)
	}) {
		out = append(out, w)
		if isHan(w) {
			for i := range w {
				if i > 0 {
					out = append(out, w[i:])
				}
			}
		}
	}
	return out[:min(len(out), 64)]
}

func isHan(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return unicode.Is(unicode.Han, r) }) >= 0
}

// Begin lets a customer's time in a home begin. The customer must exist, and not already live there.
func Begin(tx store.Tx, m cloud.Membership) error {
	if m.Role != "owner" && m.Role != "member" {
		return cloud.Invalid("role", "want owner or member")
	}
	if ok, err := customers.Has(tx, m.Customer); err != nil {
		return err
	} else if !ok {
		return cloud.Errorf(cloud.CodeNotFound, "there is no such customer")
	}
	m.Begin = m.Begin.UTC()
	for old, err := range memberships.Scan(tx, store.Range{Prefix: store.Key{m.Home, m.Customer}}) {
		if err != nil {
			return err
		}
		if old.End == nil || old.End.After(m.Begin) {
			return cloud.Errorf(cloud.CodeConflict, "the customer already belongs to this home")
		}
	}
	return memberships.Insert(tx, &m)
}

// End lets a customer's time in a home end at a moment after it began.
func End(tx store.Tx, home, customer string, at time.Time) error {
	at = at.UTC()
	for m, err := range memberships.Scan(tx, store.Range{Prefix: store.Key{home, customer}, Reverse: true, Limit: 1}) {
		if err != nil {
			return err
		}
		if m.End != nil {
			break
		}
		if !at.After(m.Begin) {
			return cloud.Invalid("end", "want a time after the begin")
		}
		m.End = &at
		return memberships.Put(tx, &m)
	}
	return cloud.Errorf(cloud.CodeNotFound, "the customer does not belong to this home")
}

// Homes returns the memberships of a customer, the present ones first, newest first.
func Homes(tx store.Tx, customer string) ([]cloud.Membership, error) {
	return listed(tx, store.Range{Index: "by_customer", Prefix: store.Key{customer}, Reverse: true})
}

// Members returns the memberships of a home, the present ones first, owners before members.
func Members(tx store.Tx, home string) ([]cloud.Membership, error) {
	out, err := listed(tx, store.Range{Prefix: store.Key{home}})
	slices.SortStableFunc(out, func(a, b cloud.Membership) int {
		return rank(a) - rank(b)
	})
	return out, err
}

func rank(m cloud.Membership) int {
	r := 0
	if m.End != nil {
		r += 2
	}
	if m.Role != "owner" {
		r++
	}
	return r
}

// Lives tells whether a customer belongs to a home at a moment.
func Lives(tx store.Tx, customer, home string, at time.Time) (bool, error) {
	for m, err := range memberships.Scan(tx, store.Range{Prefix: store.Key{home, customer}}) {
		if err != nil {
			return false, err
		}
		if !m.Begin.After(at) && (m.End == nil || m.End.After(at)) {
			return true, nil
		}
	}
	return false, nil
}

func listed(tx store.Tx, r store.Range) ([]cloud.Membership, error) {
	var now, past []cloud.Membership
	for m, err := range memberships.Scan(tx, r) {
		if err != nil {
			return nil, err
		}
		if m.End == nil {
			now = append(now, m)
		} else {
			past = append(past, m)
		}
	}
	return append(now, past...), nil
}
