package httpapi

import (
	"context"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
)

func (a *API) registerProvisioning() {
	handle(a, "add-home", func(ctx context.Context, in *inAddHome) (*body[cloud.Home], error) {
		b := in.Body
		var h cloud.Home
		err := a.update(ctx, func(tx store.Tx) (err error) {
			h, err = fleet.AddHome(tx, cloud.Home{ID: b.ID, Name: b.Name, Region: b.Region, ISP: b.ISP, TimeZone: b.TimeZone})
			return err
		})
		return answer(h, err)
	})
	handle(a, "add-customer", func(ctx context.Context, in *inAddCustomer) (*body[cloud.Customer], error) {
		b := in.Body
		var c cloud.Customer
		err := a.update(ctx, func(tx store.Tx) (err error) {
			c, err = identity.Add(tx, cloud.Customer{
				ID: b.ID, Name: b.Name, Phones: b.Phones, Emails: b.Emails, Accounts: b.Accounts,
				Language: timeline.Language(b.Language), Since: a.opts.Now().UTC(),
			}, a.Region)
			return err
		})
		return answer(c, err)
	})
	handle(a, "add-member", func(ctx context.Context, in *inAddMember) (*body[cloud.Membership], error) {
		if err := a.inHome(ctx, in.Home, ""); err != nil {
			return nil, store.ErrNotFound
		}
		m := cloud.Membership{Customer: in.Body.Customer, Home: in.Home, Role: in.Body.Role, Begin: orNow(in.Body.Begin, a.opts.Now)}
		err := a.update(ctx, func(tx store.Tx) error { return identity.Begin(tx, m) })
		return answer(m, err)
	})
	handle(a, "end-member", func(ctx context.Context, in *inEndMember) (*none, error) {
		return nil, a.update(ctx, func(tx store.Tx) error {
			return identity.End(tx, in.Home, in.Customer, orNow(in.Body.End, a.opts.Now))
		})
	})
	handle(a, "add-device", func(ctx context.Context, in *inAddDevice) (*body[cloud.Device], error) {
		b := in.Body
		var d cloud.Device
		err := a.update(ctx, func(tx store.Tx) (err error) {
			d, err = fleet.Add(tx, cloud.Device{
				ID: b.ID, Home: b.Home, Name: b.Name, Model: b.Model, Firmware: b.Firmware, Hardware: b.Hardware, Added: a.opts.Now().UTC(),
			})
			return err
		})
		return answer(d, err)
	})
	handle(a, "enrolment-token", func(ctx context.Context, in *InDevice) (*body[enrolmentToken], error) {
		if a.Enrolment == nil {
			return nil, missing("enrolment")
		}
		err := a.view(ctx, func(tx store.Tx) error {
			_, err := fleet.Device(tx, in.Device)
			return err
		})
		if err != nil {
			return nil, err
		}
		token, expires, err := a.Enrolment.NewToken(ctx, who(ctx).tenant, in.Device)
		return answer(enrolmentToken{token, expires}, err)
	})
	handle(a, "inbox-link", func(ctx context.Context, in *InCustomer) (*body[inboxLink], error) {
		err := a.view(ctx, func(tx store.Tx) error {
			_, err := identity.Get(tx, in.Customer)
			return err
		})
		if err != nil {
			return nil, err
		}
		token, expires, err := a.Inbox.Token(who(ctx).tenant, in.Customer, a.opts.Now())
		// The token is in the fragment: it reaches no server log and no Referer.
		return answer(inboxLink{Token: token, Path: "/inbox#" + token, Expires: expires}, err)
	})
	handle(a, "dead-jobs", func(ctx context.Context, _ *struct{}) (*body[Page[DeadJob]], error) {
		list, err := a.DB.Dead(ctx, who(ctx).tenant, 200)
		out := Page[DeadJob]{Items: []DeadJob{}}
		for _, j := range list {
			out.Items = append(out.Items, DeadJob{Queue: j.Queue, ID: j.ID, Attempts: j.Attempts, Error: j.LastError, Buried: j.BuriedAt})
		}
		return answer(out, err)
	})
	handle(a, "revive-job", func(ctx context.Context, in *inDeadJob) (*none, error) {
		return nil, a.DB.Revive(ctx, who(ctx).tenant, in.Queue, in.Job)
	})
}

func orNow(t *time.Time, now func() time.Time) time.Time {
	if t == nil {
		return now().UTC()
	}
	return t.UTC()
}
