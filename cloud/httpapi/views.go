package httpapi

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

const (
	timelineOnPage = 50
	maxOutages     = 50 // of each state: what is older explains nothing today
	contactsOnPage = 50
	matchesOnPage  = 20
)

func (a *API) registerViews() {
	handle(a, "health", func(ctx context.Context, _ *struct{}) (*body[serviceHealth], error) {
		if a.DB == nil {
			return nil, missing("the store")
		}
		if err := a.DB.View(ctx, a.Tenant, func(store.Tx) error { return nil }); err != nil {
			return nil, newFault(http.StatusServiceUnavailable, "the store does not answer")
		}
		return answer(serviceHealth{Status: "ok", Version: a.opts.Version}, nil)
	})
	handle(a, "find", a.find)
	handle(a, "caller", a.caller)
	handle(a, "customer", func(ctx context.Context, in *InCustomer) (out *body[CustomerView], err error) {
		var v CustomerView
		err = a.view(ctx, func(tx store.Tx) (err error) {
			v, err = a.customerView(tx, in.InLang.String(), in.Customer)
			return err
		})
		return answer(v, err)
	})
	handle(a, "homes", func(ctx context.Context, in *inHomes) (*body[Page[HomeView]], error) {
		out := Page[HomeView]{Items: []HomeView{}}
		err := a.view(ctx, func(tx store.Tx) error {
			homes, next, err := fleet.Homes(tx, store.Cursor(in.Before), in.Limit)
			out = Page[HomeView]{Items: []HomeView{}, Next: string(next)}
			for _, h := range homes {
				v, err := a.homeView(tx, in.InLang.String(), h)
				if err != nil {
					return err
				}
				out.Items = append(out.Items, v)
			}
			return err
		})
		return answer(out, err)
	})
	handle(a, "home", func(ctx context.Context, in *InHome) (*body[HomeView], error) {
		var v HomeView
		err := a.view(ctx, func(tx store.Tx) error {
			h, err := fleet.Home(tx, in.Home)
			if err != nil {
				return err
			}
			v, err = a.homeView(tx, in.InLang.String(), h)
			return err
		})
		return answer(v, err)
	})
	handle(a, "entries", func(ctx context.Context, in *inEntries) (*body[Page[EntryView]], error) {
		var out Page[EntryView]
		err := a.view(ctx, func(tx store.Tx) error {
			if _, err := fleet.Home(tx, in.Home); err != nil {
				return err
			}
			page, next, err := timeline.Page(tx, in.Home, store.Cursor(in.Before), in.Limit)
			out = Page[EntryView]{Items: entryViews(tx, in.InLang.String(), page), Next: string(next)}
			return err
		})
		return answer(out, err)
	})
	handle(a, "why", func(ctx context.Context, in *inWhy) (*body[Page[EntryView]], error) {
		var out Page[EntryView]
		err := a.view(ctx, func(tx store.Tx) error {
			chain, err := timeline.Why(tx, in.Home, protocol.EntryID(in.Entry))
			out = Page[EntryView]{Items: entryViews(tx, in.InLang.String(), chain)}
			return err
		})
		return answer(out, err)
	})
	handle(a, "device", func(ctx context.Context, in *InDevice) (*body[DeviceView], error) {
		var v DeviceView
		err := a.view(ctx, func(tx store.Tx) error {
			d, err := fleet.Device(tx, in.Device)
			if err != nil {
				return err
			}
			h, err := fleet.Home(tx, d.Home)
			if err != nil {
				return err
			}
			v, err = a.deviceView(tx, in.InLang.String(), h, d)
			return err
		})
		return answer(v, err)
	})
	handle(a, "telemetry", a.telemetry)
	handle(a, "outages", func(ctx context.Context, in *inOutages) (*body[Page[Outage]], error) {
		out := Page[Outage]{Items: []Outage{}}
		if a.Health == nil {
			return answer(out, nil)
		}
		err := a.view(ctx, func(tx store.Tx) error {
			list, err := a.Health.Outages(tx, in.InLang.String(), maxOutages)
			out.Items = full(list)
			return err
		})
		return answer(out, err)
	})
	handle(a, "problems", func(ctx context.Context, in *inProblems) (*body[Page[Problem]], error) {
		if a.Problems == nil {
			return answer(Page[Problem]{Items: []Problem{}}, nil)
		}
		list, err := a.Problems.List(ctx, who(ctx).tenant, in.InLang.String(), in.State)
		return answer(Page[Problem]{Items: full(list)}, err)
	})
	handle(a, "problem", a.problem)
}

// full makes a list of nothing a list: JSON has null, the API has not.
func full[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (a *API) telemetry(ctx context.Context, in *inTelemetry) (*body[Telemetry], error) {
	if a.Telemetry == nil {
		return nil, missing("telemetry")
	}
	if in.To.IsZero() {
		in.To = a.opts.Now()
	}
	if in.From.IsZero() {
		in.From = in.To.Add(-time.Hour)
	}
	if !in.From.Before(in.To) || in.To.Sub(in.From) > 400*24*time.Hour {
		return nil, cloud.Invalid("query.from", "want a time before to, at most 400 days")
	}
	var d cloud.Device
	err := a.view(ctx, func(tx store.Tx) (err error) {
		d, err = fleet.Device(tx, in.Device)
		return err
	})
	if err != nil {
		return nil, err
	}
	series, err := a.Telemetry.Series(ctx, who(ctx).tenant, d.Home, d.ID, in.Metric, in.From, in.To, in.Points)
	return answer(Telemetry{full(series)}, err)
}

func (a *API) problem(ctx context.Context, in *inProblem) (*body[ProblemView], error) {
	if a.Problems == nil {
		return nil, store.ErrNotFound
	}
	lang := in.InLang.String()
	v, err := a.Problems.Get(ctx, who(ctx).tenant, lang, in.Problem)
	if err != nil {
		return nil, err
	}
	v.Evidence.Daily, v.Homes, v.Tickets = full(v.Evidence.Daily), full(v.Homes), []TicketView{}
	err = a.view(ctx, func(tx store.Tx) error {
		v.Tickets = []TicketView{}
		tickets, err := desk.OfProblem(tx, in.Problem, 500)
		if err != nil {
			return err
		}
		byHome := map[string]string{}
		for _, t := range tickets {
			tv, err := named(tx, lang, t)
			if err != nil {
				return err
			}
			byHome[t.Home] = t.ID
			v.Tickets = append(v.Tickets, tv)
		}
		for i := range v.Homes {
			h := &v.Homes[i]
			h.Ticket = cmp.Or(h.Ticket, byHome[h.Home])
			if c, ok, err := resident(tx, h.Home); err != nil {
				return err
			} else if ok {
				h.CustomerID, h.CustomerName = c.ID, c.Name
			}
			if d, err := fleet.Device(tx, h.Device); err == nil {
				h.DeviceName = d.Name
			} else if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return nil
	})
	return answer(v, err)
}
