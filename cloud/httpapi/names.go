package httpapi

import (
	"cmp"
	"errors"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
)

func entryViews(tx store.Tx, lang string, entries []cloud.Entry) []EntryView {
	lang = timeline.Language(lang)
	out := make([]EntryView, 0, len(entries))
	names := map[cloud.Ref]string{}
	for _, e := range entries {
		if _, ok := names[e.Actor]; !ok {
			names[e.Actor] = cmp.Or(nameOfActor(tx, e.Actor), timeline.Word(lang, "actor", e.Actor.Type))
		}
		v := EntryView{Entry: e, Summary: timeline.Summary(lang, &e, names[e.Actor]), ActorName: names[e.Actor]}
		v.Subjects, v.Because = full(e.Subjects), full(e.Because)
		if e.Risk != nil {
			e.Risk.Reasons = full(e.Risk.Reasons)
		}
		if e.Diagnosis != nil {
			e.Diagnosis.Steps = full(e.Diagnosis.Steps)
		}
		out = append(out, v)
	}
	return out
}

// nameOfActor returns the name that people know an actor by, or "".
func nameOfActor(tx store.Tx, r cloud.Ref) string {
	switch r.Type {
	case cloud.RefStaff:
		return staffName(tx, r.ID)
	case cloud.RefDevice:
		if d, err := fleet.Device(tx, r.ID); err == nil {
			return d.Name
		}
	case cloud.RefCustomer:
		if c, err := identity.Get(tx, r.ID); err == nil {
			return c.Name
		}
	}
	return ""
}

func staffName(tx store.Tx, id string) string {
	s, err := access.Who(tx, id)
	if err != nil {
		return ""
	}
	return s.Name
}

func nameOf(devices []DeviceView, id string) string {
	for _, d := range devices {
		if d.ID == id {
			return d.Name
		}
	}
	return ""
}

func ticketView(lang string, t cloud.Ticket) TicketView {
	t.Because = full(t.Because)
	return TicketView{Ticket: t, TitleText: desk.Title(lang, &t)}
}

// named fills in the names that go with a ticket of whichever home.
func named(tx store.Tx, lang string, t cloud.Ticket) (TicketView, error) {
	v := ticketView(lang, t)
	if t.Owner != "" {
		v.OwnerName = staffName(tx, t.Owner)
	}
	h, err := fleet.Home(tx, t.Home)
	if err != nil {
		return v, err
	}
	v.HomeName = h.Name
	if t.Device != "" {
		if d, err := fleet.Device(tx, t.Device); err == nil {
			v.DeviceName = d.Name
		} else if !errors.Is(err, store.ErrNotFound) {
			return v, err
		}
	}
	c, ok, err := resident(tx, t.Home)
	if ok {
		v.CustomerID, v.CustomerName = c.ID, c.Name
	}
	return v, err
}

// resident returns the customer to speak with about a home: its present owner, or else a present member.
func resident(tx store.Tx, home string) (c cloud.Customer, ok bool, err error) {
	members, err := identity.Members(tx, home)
	if err != nil || len(members) == 0 || members[0].End != nil {
		return c, false, err
	}
	c, err = identity.Get(tx, members[0].Customer)
	return c, err == nil, err
}
