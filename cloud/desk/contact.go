// Package desk is what lies on a support agent's desk: what customers said, on whichever channel, what was
// promised to them, and the tickets.
//
// A ticket is opened and closed by an entry on the home's timeline; the row here is its head, kept by the
// reactions Opened and Closed. So a ticket that the service opens and one that a person opens are the same.
package desk

import (
	"errors"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// MaxText bounds what a customer or agent writes at once, in bytes.
const MaxText = 4000

// contact is a cloud.Contact with what became of its promise.
type contact struct {
	cloud.Contact
	Kept *time.Time `json:"kept,omitempty"`
}

var contacts = store.NewTable("contacts", store.Spec[contact]{
	Key:   store.Columns{store.Text("contact")},
	KeyOf: func(c *contact) store.Key { return store.Key{c.ID} },
	Indexes: []store.Index[contact]{
		{
			Name: "by_home",
			On:   store.Columns{store.Text("home"), store.Time("said")},
			Of:   func(c *contact) store.Key { return store.Key{c.Home, c.At} },
		},
		{
			Name: "by_customer",
			On:   store.Columns{store.Text("customer"), store.Time("said")},
			Of:   func(c *contact) store.Key { return store.Key{c.Customer, c.At} },
		},
		{
			Name: "by_sender",
			On:   store.Columns{store.Text("sender"), store.Time("said")},
			Of:   func(c *contact) store.Key { return store.Key{c.From, c.At} },
		},
	},
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{contacts, tickets} }

// Receive checks and writes a contact and appends what it says to the timeline of its home: the contact,
// and the promise when one was made. A contact of nobody we know has no home and only a row. A contact
// with an id that is there already is the same one again: it is returned as it was, with fresh false.
func Receive(tx store.Tx, c cloud.Contact, actor cloud.Ref, log Append) (_ cloud.Contact, fresh bool, err error) {
	if c.ID == "" {
		c.ID = cloud.NewID()
	} else if old, err := contacts.Get(tx, c.ID); err == nil {
		return old.Contact, false, nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return c, false, err
	}
	if err := protocol.CheckID("id", c.ID); err != nil {
		return c, false, cloud.Invalid("id", "%s", err)
	}
	c.Text = strings.TrimSpace(c.Text)
	if c.Text == "" || len(c.Text) > MaxText {
		return c, false, cloud.Invalid("text", "want 1 to %d bytes, got %d", MaxText, len(c.Text))
	}
	if p := c.Promise; p != nil {
		if p.Text == "" || len(p.Text) > MaxText {
			return c, false, cloud.Invalid("promise.text", "want 1 to %d bytes, got %d", MaxText, len(p.Text))
		}
		if !p.Due.After(c.At) {
			return c, false, cloud.Invalid("promise.due", "want a time after the contact")
		}
		p.Due = p.Due.UTC()
	}
	c.At = c.At.UTC()
	if err := contacts.Insert(tx, &contact{Contact: c}); err != nil {
		return c, false, err
	}
	if c.Home == "" {
		return c, true, nil
	}
	said := cloud.Entry{
		ID: protocol.EntryID("contact-" + c.ID), Home: c.Home, At: c.At, Kind: cloud.KindContact,
		Subjects: []cloud.Ref{{Type: cloud.RefCustomer, ID: c.Customer}, {Type: cloud.RefContact, ID: c.ID}},
		Actor:    cloud.Ref{Type: cloud.RefCustomer, ID: c.Customer},
		Args:     map[string]string{"channel": c.Channel, "contact": c.ID, "text": c.Text},
	}
	if err := log(tx, said); err != nil {
		return c, false, err
	}
	if c.Promise == nil {
		return c, true, nil
	}
	return c, true, log(tx, cloud.Entry{
		ID: protocol.EntryID("promise-" + c.ID), Home: c.Home, At: c.At, Kind: cloud.KindPromise,
		Subjects: said.Subjects, Actor: actor,
		Args:    map[string]string{"text": c.Promise.Text, "due": c.Promise.Due.Format(time.RFC3339), "contact": c.ID},
		Because: []protocol.EntryID{said.ID},
	})
}

// Append writes an entry to a timeline.
type Append func(store.Tx, cloud.Entry) error

// Contacts returns up to limit contacts of a customer, newest first.
func Contacts(tx store.Tx, customer string, limit int) ([]cloud.Contact, error) {
	return latest(tx, "by_customer", customer, limit)
}

// From returns up to limit contacts of a sender, newest first, in the form that identity.Identifier gives.
func From(tx store.Tx, sender string, limit int) ([]cloud.Contact, error) {
	return latest(tx, "by_sender", sender, limit)
}

func latest(tx store.Tx, index, value string, limit int) ([]cloud.Contact, error) {
	out := []cloud.Contact{}
	for c, err := range contacts.Scan(tx, store.Range{Index: index, Prefix: store.Key{value}, Reverse: true, Limit: limit}) {
		if err != nil {
			return nil, err
		}
		out = append(out, c.Contact)
	}
	return out, nil
}

// Keep records that a promise was kept.
func Keep(tx store.Tx, id string, at time.Time) error {
	c, err := contacts.Get(tx, id)
	if err != nil {
		return err
	}
	if c.Promise == nil {
		return cloud.Errorf(cloud.CodeConflict, "nothing was promised with this contact")
	}
	at = at.UTC()
	c.Kept = &at
	return contacts.Put(tx, &c)
}

// Kept tells whether the promise of a contact was kept.
func Kept(tx store.Tx, id string) (bool, error) {
	c, err := contacts.Get(tx, id)
	return c.Kept != nil, err
}
