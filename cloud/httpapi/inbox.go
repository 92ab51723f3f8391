package httpapi

import (
	"context"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/notify"
	"github.com/hearthline/hearthline/cloud/session"
	"github.com/hearthline/hearthline/cloud/store"
)

const (
	noticesOnPage = 100
	inboxChannel  = "inbox"
)

func (a *API) registerInbox() {
	handle(a, "inbox", func(ctx context.Context, in *InLang) (*body[Inbox], error) {
		var v Inbox
		err := a.view(ctx, func(tx store.Tx) (err error) {
			v, err = a.inboxView(tx, who(ctx).customer, in.Lang)
			return err
		})
		v.CSRF = who(ctx).csrf
		return answer(v, err)
	})
	handle(a, "answer-consent", func(ctx context.Context, in *inConsent) (*none, error) {
		c := who(ctx)
		return nil, a.update(ctx, func(tx store.Tx) error {
			_, home, err := session.Consent(tx, in.Request)
			if err != nil {
				return err
			}
			// Whoever asks about a home that is not his learns nothing, not even that it exists.
			if lives, err := identity.Lives(tx, c.customer, home, a.opts.Now()); err != nil {
				return err
			} else if !lives {
				return store.ErrNotFound
			}
			e, err := a.Sessions.Answer(tx, in.Request, in.Body.Answer, c.customer)
			if err != nil {
				return err
			}
			return a.Log.Append(tx, e)
		})
	})
	handle(a, "write-to-us", func(ctx context.Context, in *inMessage) (*none, error) {
		c := who(ctx)
		msg := cloud.Contact{Channel: inboxChannel, From: c.customer, Customer: c.customer, Text: in.Body.Text, At: a.opts.Now()}
		err := a.view(ctx, func(tx store.Tx) (err error) {
			msg.Home, err = homeOf(tx, c.customer, in.Body.Home)
			return err
		})
		if err != nil {
			return nil, err
		}
		if msg.Home == "" && in.Body.Home != "" {
			return nil, cloud.Invalid("body.home", "you do not live there")
		}
		return nil, a.update(ctx, func(tx store.Tx) error {
			_, _, err := desk.Receive(tx, msg, c.actor(), a.Log.Append)
			return err
		})
	})
}

// inboxView gathers what a customer sees: the present homes, and of each only what happened since the
// customer came.
func (a *API) inboxView(tx store.Tx, customer, lang string) (v Inbox, err error) {
	v = Inbox{Homes: []InboxHome{}, Notices: []NoticeView{}, Messages: []InboxMessage{}, Sessions: []cloud.Session{}}
	c, err := identity.Get(tx, customer)
	if err != nil {
		return v, err
	}
	if lang == "" {
		lang = c.Language
	}
	v.Customer.Name, v.Customer.Language = c.Name, c.Language
	memberships, err := identity.Homes(tx, customer)
	if err != nil {
		return v, err
	}
	for _, m := range memberships {
		if m.End != nil {
			continue
		}
		if err := a.inboxHome(tx, &v, lang, m); err != nil {
			return v, err
		}
	}
	slices.SortStableFunc(v.Notices, func(x, y NoticeView) int { return y.At.Compare(x.At) })
	contacts, err := desk.Contacts(tx, customer, contactsOnPage)
	if err != nil {
		return v, err
	}
	for _, c := range slices.Backward(contacts) {
		v.Messages = append(v.Messages, InboxMessage{At: c.At, From: "you", Text: c.Text, Channel: c.Channel})
		if c.Promise != nil {
			v.Messages = append(v.Messages, InboxMessage{At: c.At, From: "us", Text: c.Promise.Text, Channel: c.Channel, Promise: c.Promise})
		}
	}
	return v, nil
}

func (a *API) inboxHome(tx store.Tx, v *Inbox, lang string, m cloud.Membership) error {
	h, err := fleet.Home(tx, m.Home)
	if err != nil {
		return err
	}
	ih := InboxHome{Home: h, Devices: []InboxDevice{}}
	devices, err := fleet.Devices(tx, h.ID)
	if err != nil {
		return err
	}
	for _, d := range devices {
		dv, err := a.deviceView(tx, lang, h, d)
		if err != nil {
			return err
		}
		ih.Devices = append(ih.Devices, InboxDevice{ID: d.ID, Name: d.Name, Online: dv.Online, Health: dv.Health})
	}
	v.Homes = append(v.Homes, ih)
	sessions, err := session.OfHome(tx, h.ID)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if s.State != "closed" && !s.Asked.Before(m.Begin) {
			v.Sessions = append(v.Sessions, s)
		}
	}
	notices, err := notify.Of(tx, h.ID, latest(m.Begin, a.opts.Now().AddDate(-1, 0, 0)), noticesOnPage)
	if err != nil {
		return err
	}
	for _, n := range notices {
		nv := NoticeView{ID: n.ID, At: n.At, Tone: notify.Tone(&n), Resolved: n.Resolved}
		nv.Title, nv.Text = notify.Text(lang, &n)
		if n.Consent != nil {
			c, _, err := session.Consent(tx, n.Consent.Request)
			if err != nil {
				return err
			}
			nv.Consent = &c
		}
		v.Notices = append(v.Notices, nv)
	}
	return nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
