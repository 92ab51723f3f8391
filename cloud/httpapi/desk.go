package httpapi

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

func (a *API) registerDesk() {
	handle(a, "add-contact", func(ctx context.Context, in *inContact) (*body[cloud.Contact], error) {
		c := cloud.Contact{
			ID: in.Body.ID, Channel: in.Body.Channel, Text: in.Body.Text, Promise: in.Body.Promise, At: a.opts.Now(),
			From: identity.Identifier(in.Body.Channel, in.Body.From, a.Region),
		}
		if in.Body.At != nil {
			if in.Body.At.After(a.opts.Now().Add(clockSlack)) {
				return nil, cloud.Invalid("body.at", "want a time that is over")
			}
			c.At = *in.Body.At
		}
		err := a.view(ctx, func(tx store.Tx) (err error) {
			c.Customer, c.Home, err = a.sender(tx, c.Channel, c.From, in.Body.Home)
			return err
		})
		if err != nil {
			return nil, err
		}
		err = a.update(ctx, func(tx store.Tx) (err error) {
			c, _, err = desk.Receive(tx, c, who(ctx).actor(), a.Log.Append)
			return err
		})
		return answer(c, err)
	})
	handle(a, "keep-promise", func(ctx context.Context, in *inKeep) (*none, error) {
		return nil, a.update(ctx, func(tx store.Tx) error { return desk.Keep(tx, in.Contact, a.opts.Now()) })
	})
	handle(a, "tickets", a.tickets)
	handle(a, "ticket", func(ctx context.Context, in *InTicket) (*body[TicketView], error) {
		var v TicketView
		err := a.view(ctx, func(tx store.Tx) error {
			t, err := desk.Ticket(tx, in.Ticket)
			if err != nil {
				return err
			}
			v, err = named(tx, in.InLang.String(), t)
			return err
		})
		return answer(v, err)
	})
	handle(a, "open-ticket", func(ctx context.Context, in *inOpenTicket) (*body[TicketView], error) {
		if err := a.inHome(ctx, in.Body.Home, in.Body.Device); err != nil {
			return nil, err
		}
		e, err := desk.Open(in.Body.Home, in.Body.Device, in.Body.Title, who(ctx).actor())
		if err != nil {
			return nil, err
		}
		var v TicketView
		err = a.update(ctx, func(tx store.Tx) error {
			if err := a.Log.Append(tx, e); err != nil {
				return err
			}
			t, err := desk.Ticket(tx, e.Args["ticket"])
			if err != nil {
				return err
			}
			v, err = named(tx, in.InLang.String(), t)
			return err
		})
		return answer(v, err)
	})
	handle(a, "take-ticket", func(ctx context.Context, in *InTicket) (*body[TicketView], error) {
		var v TicketView
		err := a.update(ctx, func(tx store.Tx) error {
			t, err := desk.Take(tx, in.Ticket, who(ctx).staff.ID)
			if err != nil {
				return err
			}
			v, err = named(tx, in.InLang.String(), t)
			return err
		})
		return answer(v, err)
	})
	handle(a, "note-ticket", func(ctx context.Context, in *inTicketText) (*none, error) {
		return nil, a.onTicket(ctx, in, desk.Note)
	})
	handle(a, "close-ticket", func(ctx context.Context, in *inTicketText) (*none, error) {
		return nil, a.onTicket(ctx, in, desk.Close)
	})
	handle(a, "diagnose", func(ctx context.Context, in *inDiagnose) (*body[diagnosisAsked], error) {
		var out diagnosisAsked
		err := a.update(ctx, func(tx store.Tx) error {
			d, err := fleet.Device(tx, in.Device)
			if err != nil {
				return err
			}
			e, command, err := a.Remedy.Diagnose(tx, d.Home, d.ID, protocol.DiagnosisRequest{Kind: in.Body.Kind, Target: in.Body.Target}, who(ctx).actor())
			if err != nil {
				return err
			}
			out = diagnosisAsked{Entry: string(e.ID), Command: command}
			return a.Log.Append(tx, e)
		})
		return answer(out, err)
	})
}

// inHome checks that a home exists and that a device, if one is named, stands there.
func (a *API) inHome(ctx context.Context, home, device string) error {
	return a.view(ctx, func(tx store.Tx) error {
		if _, err := fleet.Home(tx, home); errors.Is(err, store.ErrNotFound) {
			return cloud.Invalid("body.home", "there is no such home")
		} else if err != nil || device == "" {
			return err
		}
		d, err := fleet.Device(tx, device)
		if errors.Is(err, store.ErrNotFound) || err == nil && d.Home != home {
			return cloud.Invalid("body.device", "there is no such device in this home")
		}
		return err
	})
}

func (a *API) onTicket(ctx context.Context, in *inTicketText, entry func(*cloud.Ticket, string, cloud.Ref) (cloud.Entry, error)) error {
	return a.update(ctx, func(tx store.Tx) error {
		t, err := desk.Ticket(tx, in.Ticket)
		if err != nil {
			return err
		}
		e, err := entry(&t, in.Body.Text, who(ctx).actor())
		if err != nil {
			return err
		}
		return a.Log.Append(tx, e)
	})
}

// tickets lists one state with a cursor, or several states as one list without: the cursor of a list is a
// place in one index.
func (a *API) tickets(ctx context.Context, in *inTickets) (*body[Page[TicketView]], error) {
	states := in.State
	if len(states) == 0 {
		states = []string{string(cloud.TicketOpen), string(cloud.TicketWaiting)}
	}
	if in.Before != "" && len(states) > 1 {
		return nil, cloud.Invalid("query.before", "a cursor goes with one state")
	}
	var out Page[TicketView]
	err := a.view(ctx, func(tx store.Tx) error {
		out = Page[TicketView]{Items: []TicketView{}}
		for _, state := range states {
			page, next, err := desk.List(tx, cloud.TicketState(state), store.Cursor(in.Before), in.Limit)
			if err != nil {
				return err
			}
			for _, t := range page {
				v, err := named(tx, in.InLang.String(), t)
				if err != nil {
					return err
				}
				out.Items = append(out.Items, v)
			}
			if len(states) == 1 {
				out.Next = string(next)
			}
		}
		slices.SortStableFunc(out.Items, func(x, y TicketView) int {
			return cmp.Or(y.Opened.Compare(x.Opened), cmp.Compare(y.ID, x.ID))
		})
		out.Items = out.Items[:min(len(out.Items), in.Limit)]
		return nil
	})
	return answer(out, err)
}
