package httpapi

import (
	"context"
	"errors"
	"strings"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
)

// find looks for customers by everything that the words could be.
func (a *API) find(ctx context.Context, in *inFind) (*body[Page[Match]], error) {
	q := strings.TrimSpace(in.Q)
	var out Page[Match]
	err := a.view(ctx, func(tx store.Tx) error {
		out = Page[Match]{Items: []Match{}}
		seen := map[string]bool{}
		add := func(matched string, list []cloud.Customer, err error) error {
			if err != nil {
				return err
			}
			for _, c := range list {
				if seen[c.ID] || len(out.Items) >= matchesOnPage {
					continue
				}
				seen[c.ID] = true
				m, err := match(tx, c, matched)
				if err != nil {
					return err
				}
				out.Items = append(out.Items, m)
			}
			return nil
		}
		if phone, err := identity.Phone(q, a.Region); err == nil {
			list, err := identity.ByPhone(tx, phone)
			if err := add("phone", list, err); err != nil {
				return err
			}
		}
		if email, err := identity.Email(q); err == nil {
			list, err := identity.ByEmail(tx, email)
			if err := add("email", list, err); err != nil {
				return err
			}
		}
		list, err := identity.ByAccount(tx, q)
		if err := add("account", list, err); err != nil {
			return err
		}
		list, err = identity.ByName(tx, q, matchesOnPage)
		if err := add("name", list, err); err != nil {
			return err
		}
		devices, err := fleet.Find(tx, q, matchesOnPage)
		if err != nil {
			return err
		}
		for _, d := range devices {
			c, ok, err := resident(tx, d.Home)
			if err != nil {
				return err
			}
			if ok && !seen[c.ID] && len(out.Items) < matchesOnPage {
				if err := add("device", []cloud.Customer{c}, nil); err != nil {
					return err
				}
				out.Items[len(out.Items)-1].Home = d.Home
			}
		}
		return nil
	})
	return answer(out, err)
}

func match(tx store.Tx, c cloud.Customer, matched string) (Match, error) {
	m := Match{Customer: c, Matched: matched, Homes: []cloud.Home{}, Devices: []cloud.Device{}}
	memberships, err := identity.Homes(tx, c.ID)
	if err != nil {
		return m, err
	}
	for _, ms := range memberships {
		if ms.End != nil {
			continue
		}
		h, err := fleet.Home(tx, ms.Home)
		if err != nil {
			return m, err
		}
		devices, err := fleet.Devices(tx, h.ID)
		if err != nil {
			return m, err
		}
		tickets, err := desk.OfHome(tx, h.ID)
		if err != nil {
			return m, err
		}
		for _, t := range tickets {
			m.OpenTickets += b2i(t.State != cloud.TicketSolved)
		}
		if m.Homes = append(m.Homes, h); m.Home == "" {
			m.Home = h.ID
		}
		m.Devices = append(m.Devices, devices...)
	}
	return m, nil
}

// caller answers a ringing phone: of all who share the number, the one with an open matter is the likeliest,
// and else the one who is with us the longest.
func (a *API) caller(ctx context.Context, in *inCaller) (*body[CallerView], error) {
	phone, err := identity.Phone(in.Phone, a.Region)
	if err != nil {
		return nil, cloud.Invalid("query.phone", "%s", err)
	}
	var v CallerView
	err = a.view(ctx, func(tx store.Tx) error {
		v = CallerView{Phone: phone, Others: []cloud.Customer{}, Strangers: []cloud.Contact{}}
		list, err := identity.ByPhone(tx, phone)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			v.Strangers, err = desk.From(tx, phone, contactsOnPage)
			return err
		}
		likeliest := 0
		if len(list) > 1 {
			for i, c := range list {
				if m, err := match(tx, c, "phone"); err != nil {
					return err
				} else if m.OpenTickets > 0 {
					likeliest = i
					break
				}
			}
		}
		v.Known = true
		cv, err := a.customerView(tx, in.InLang.String(), list[likeliest].ID)
		v.Customer = &cv
		v.Others = append(append(v.Others, list[:likeliest]...), list[likeliest+1:]...)
		return err
	})
	return answer(v, err)
}

// sender finds whose identifier a contact came from, and the home it is about; both are empty for a
// stranger. With several homes, one with an open ticket is meant, and else the newest.
func (a *API) sender(tx store.Tx, channel, identifier, home string) (customer, where string, err error) {
	var list []cloud.Customer
	switch channel {
	case "phone":
		list, err = identity.ByPhone(tx, identifier)
	case "email":
		list, err = identity.ByEmail(tx, identifier)
	default:
		list, err = identity.ByAccount(tx, identifier)
	}
	if err != nil {
		return "", "", err
	}
	for _, c := range list {
		h, err := homeOf(tx, c.ID, home)
		if err != nil {
			return "", "", err
		}
		if h != "" || len(list) == 1 {
			return c.ID, h, nil
		}
	}
	if home != "" && len(list) > 0 {
		return "", "", cloud.Invalid("body.home", "this customer does not live there")
	}
	return "", "", nil
}

// homeOf returns the home that a customer speaks of: the named one if he lives there, or else the one with
// an open ticket, or else the newest; "" when there is none.
func homeOf(tx store.Tx, customer, home string) (string, error) {
	memberships, err := identity.Homes(tx, customer)
	if err != nil {
		return "", err
	}
	newest := ""
	for _, m := range memberships {
		if m.End != nil {
			continue
		}
		if m.Home == home {
			return home, nil
		}
		if newest == "" {
			newest = m.Home
		}
		if home == "" {
			tickets, err := desk.OfHome(tx, m.Home)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return "", err
			}
			if len(tickets) > 0 && tickets[0].State != cloud.TicketSolved {
				return m.Home, nil
			}
		}
	}
	if home != "" {
		return "", nil
	}
	return newest, nil
}
