package httpapi

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/session"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
)

// customerView gathers everything about a customer. What a home did before the customer came or after he
// left is not his, so past homes are only named.
func (a *API) customerView(tx store.Tx, lang, id string) (v CustomerView, err error) {
	if v.Customer, err = identity.Get(tx, id); err != nil {
		return v, err
	}
	v.Homes, v.Tickets, v.Problems, v.Sessions, v.Timeline = []HomeView{}, []TicketView{}, []ProblemHead{}, []cloud.Session{}, []EntryView{}
	memberships, err := identity.Homes(tx, id)
	if err != nil {
		return v, err
	}
	var entries []cloud.Entry
	for _, m := range memberships {
		h, err := fleet.Home(tx, m.Home)
		if err != nil {
			return v, err
		}
		hv := HomeView{Home: h, Devices: []DeviceView{}}
		if m.End == nil {
			if hv, err = a.homeView(tx, lang, h); err != nil {
				return v, err
			}
			tickets, err := desk.OfHome(tx, h.ID)
			if err != nil {
				return v, err
			}
			for _, t := range tickets {
				tv := ticketView(lang, t)
				tv.CustomerID, tv.CustomerName, tv.HomeName = v.Customer.ID, v.Customer.Name, h.Name
				tv.DeviceName = nameOf(hv.Devices, t.Device)
				if v.Tickets = append(v.Tickets, tv); t.Owner != "" {
					v.Tickets[len(v.Tickets)-1].OwnerName = staffName(tx, t.Owner)
				}
			}
			sessions, err := session.OfHome(tx, h.ID)
			if err != nil {
				return v, err
			}
			v.Sessions = append(v.Sessions, sessions...)
			if a.Problems != nil {
				problems, err := a.Problems.OfHome(tx, lang, h.ID)
				if err != nil {
					return v, err
				}
				v.Problems = append(v.Problems, problems...)
			}
			page, _, err := timeline.Page(tx, h.ID, "", timelineOnPage)
			if err != nil {
				return v, err
			}
			entries = append(entries, page...)
		}
		hv.Role, hv.Begin, hv.End = m.Role, m.Begin, m.End
		v.Homes = append(v.Homes, hv)
	}
	slices.SortStableFunc(v.Tickets, func(x, y TicketView) int {
		return cmp.Or(cmp.Compare(b2i(x.State == cloud.TicketSolved), b2i(y.State == cloud.TicketSolved)), y.Opened.Compare(x.Opened))
	})
	slices.SortStableFunc(entries, func(x, y cloud.Entry) int { return y.At.Compare(x.At) })
	v.Timeline = entryViews(tx, lang, entries[:min(len(entries), timelineOnPage)])
	if v.Contacts, err = desk.Contacts(tx, id, contactsOnPage); err != nil {
		return v, err
	}
	v.Promises, err = promises(tx, v.Contacts)
	return v, err
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func promises(tx store.Tx, contacts []cloud.Contact) ([]PromiseView, error) {
	out := []PromiseView{}
	for _, c := range contacts {
		if c.Promise == nil {
			continue
		}
		kept, err := desk.Kept(tx, c.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, PromiseView{Text: c.Promise.Text, Due: c.Promise.Due, At: c.At, Contact: c.ID, Kept: kept})
	}
	slices.SortStableFunc(out, func(x, y PromiseView) int {
		return cmp.Or(cmp.Compare(b2i(x.Kept), b2i(y.Kept)), x.Due.Compare(y.Due))
	})
	return out, nil
}

func (a *API) homeView(tx store.Tx, lang string, h cloud.Home) (HomeView, error) {
	v := HomeView{Home: h, Role: "owner", Devices: []DeviceView{}}
	devices, err := fleet.Devices(tx, h.ID)
	if err != nil {
		return v, err
	}
	for _, d := range devices {
		dv, err := a.deviceView(tx, lang, h, d)
		if err != nil {
			return v, err
		}
		v.Devices = append(v.Devices, dv)
	}
	if a.Health != nil {
		if v.Health, err = a.Health.HomeHealth(tx, lang, h); err == nil {
			v.Outage, err = a.Health.OutageOf(tx, lang, h)
		}
	}
	return v, err
}

func (a *API) deviceView(tx store.Tx, lang string, h cloud.Home, d cloud.Device) (DeviceView, error) {
	v := DeviceView{Device: d, Readings: []Reading{}}
	s, err := fleet.StateOf(tx, d.Home, d.ID)
	if err != nil {
		return v, err
	}
	v.Online, v.Agent = s.Online, s.Agent
	if !s.Since.IsZero() {
		if v.Since = &s.Since; !s.Online {
			v.Seen = &s.Since
		}
	}
	if a.Health != nil {
		if v.Health, err = a.Health.DeviceHealth(tx, lang, h, d.ID); err != nil {
			return v, err
		}
	}
	if a.Telemetry == nil {
		return v, nil
	}
	last, at, err := a.Telemetry.Latest(tx, d.Home, d.ID)
	if last == nil || err != nil {
		return v, err
	}
	if v.Seen == nil || at.After(*v.Seen) {
		v.Seen = &at
	}
	for i, m := range last.Schema.Metrics {
		if math.IsNaN(last.Values[i]) || math.IsInf(last.Values[i], 0) {
			continue
		}
		value := strconv.FormatFloat(last.Values[i], 'f', -1, 64)
		v.Readings = append(v.Readings, Reading{
			Metric: m.Name, Instance: m.Instance, Value: last.Values[i], At: at,
			Text: timeline.Reading(m.Name, value), Name: timeline.Word(lang, "metric", m.Name),
		})
	}
	return v, nil
}
