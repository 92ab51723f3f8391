package httpapi

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/session"
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
