package outbreak

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// State says whether a problem is over.
type State string

// A problem is closed when its cohort has been as before for a while.
const (
	Open   State = "open"
	Closed State = "closed"
)

// Problem is one batch of devices that is going bad.
type Problem struct {
	ID       string     `json:"id"`
	State    State      `json:"state"`
	Cohort   Cohort     `json:"cohort"`
	Since    time.Time  `json:"since"` // when it most likely began, to the step
	Opened   time.Time  `json:"opened"`
	Closed   *time.Time `json:"closed,omitempty"`
	Evidence Evidence   `json:"evidence"`
	Homes    int        `json:"homes"`   // affected so far
	Tickets  int        `json:"tickets"` // linked so far
}

// Evidence is why we say so. Faults include complaints.
type Evidence struct {
	Devices    int       `json:"devices"`    // in the cohort
	Faulty     int       `json:"faulty"`     // of these with a fault since it began
	Observed   int       `json:"observed"`   // faults since it began
	Expected   float64   `json:"expected"`   // faults there would have been as before
	Score      float64   `json:"score"`      // the alarm stands at 1; each unit above is ten times the evidence
	Confidence float64   `json:"confidence"` // 0 to 1: share of the evidence for this cohort rather than another
	Worsens    bool      `json:"worsens"`    // it hits what was weak before; otherwise healthy devices too
	Daily      []Daily   `json:"daily"`      // from two weeks before it began
	To         time.Time `json:"to"`         // end of what was seen
}

// Daily is one step of the evidence.
type Daily struct {
	At       time.Time `json:"at"`       // when the step begins
	Observed int       `json:"observed"` // faults of the cohort
	Expected float64   `json:"expected"` // as before it began
	Heard    int       `json:"heard"`    // devices of the cohort that were heard of
}

var problems = store.NewTable("problems", store.Spec[Problem]{
	Key:   store.Columns{store.Text("problem")},
	KeyOf: func(p *Problem) store.Key { return store.Key{p.ID} },
	Indexes: []store.Index[Problem]{{
		Name: "by_opened",
		On:   store.Columns{store.Text("state"), store.Time("opened")},
		Of:   func(p *Problem) store.Key { return store.Key{p.State, p.Opened} },
	}},
})

// Affected is a device that failed as its problem's cohort does, in its home.
type Affected struct {
	Home    string    `json:"home"`
	Problem string    `json:"problem"`
	Device  string    `json:"device"`
	Told    time.Time `json:"told"`              // when the entry that tells the customer was written
	Tickets []string  `json:"tickets,omitempty"` // of the home that belong to the problem
}

var affected = store.NewTable("problem_devices", store.Spec[Affected]{
	Key:   store.Columns{store.Text("home"), store.Text("problem"), store.Text("device")},
	KeyOf: func(a *Affected) store.Key { return store.Key{a.Home, a.Problem, a.Device} },
	Indexes: []store.Index[Affected]{{
		Name: "by_problem",
		On:   store.Columns{store.Text("problem")},
		Of:   func(a *Affected) store.Key { return store.Key{a.Problem} },
	}},
})

// Get returns a problem, or store.ErrNotFound.
func Get(tx store.Tx, id string) (Problem, error) { return problems.Get(tx, id) }

// List returns a page of the problems in a state, newest first.
func List(tx store.Tx, state State, after store.Cursor, limit int) ([]Problem, store.Cursor, error) {
	return problems.Page(tx, store.Range{Index: "by_opened", Prefix: store.Key{state}, Reverse: true, After: after, Limit: limit})
}

// AffectedBy returns a page of the devices a problem has reached.
func AffectedBy(tx store.Tx, problem string, after store.Cursor, limit int) ([]Affected, store.Cursor, error) {
	return affected.Page(tx, store.Range{Index: "by_problem", Prefix: store.Key{problem}, After: after, Limit: limit})
}

// OfHome returns the problems that have reached a home, each once.
func OfHome(tx store.Tx, home string) ([]Problem, error) {
	var out []Problem
	for a, err := range affected.Scan(tx, store.Range{Prefix: store.Key{home}}) {
		if err != nil {
			return nil, err
		}
		if n := len(out); n > 0 && out[n-1].ID == a.Problem {
			continue
		}
		p, err := problems.Get(tx, a.Problem)
		if err != nil {
			return nil, fmt.Errorf("problem of home %s: %w", home, err)
		}
		out = append(out, p)
	}
	return out, nil
}

// opened lists the open problems.
func (o *Outbreak) opened(ctx context.Context, tenant string) (open []Problem, err error) {
	err = o.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		open = nil
		for p, err := range problems.Scan(tx, store.Range{Index: "by_opened", Prefix: store.Key{Open}}) {
			if err != nil {
				return err
			}
			open = append(open, p)
		}
		return nil
	})
	return open, err
}

// link makes devices that are new to a problem part of it, each by the first step in which it failed: their
// homes' timelines say so, which tells the customers, and their open tickets belong to the problem from then on.
func (o *Outbreak) link(ctx context.Context, tenant string, p Problem, victims []day) error {
	return o.byHome(ctx, tenant, victims, func(tx store.Tx, v day) error { return o.linkDevice(tx, p, v) })
}

// byHome does something with each row, in one transaction a home.
func (o *Outbreak) byHome(ctx context.Context, tenant string, rows []day, do func(store.Tx, day) error) error {
	homes := map[string][]day{}
	for _, d := range rows {
		homes[d.Home] = append(homes[d.Home], d)
	}
	var work []store.Work
	for _, home := range slices.Sorted(maps.Keys(homes)) {
		work = append(work, store.Work{Tenant: tenant, Do: func(tx store.Tx) error {
			for _, d := range homes[home] {
				if err := do(tx, d); err != nil {
					return err
				}
			}
			return nil
		}})
	}
	return errors.Join(o.opts.DB.Batch(ctx, work)...)
}

func (o *Outbreak) linkDevice(tx store.Tx, p Problem, v day) error {
	a, err := affected.Get(tx, v.Home, p.ID, v.Device)
	news := errors.Is(err, store.ErrNotFound)
	switch {
	case news:
		now := o.opts.Now().UTC()
		a = Affected{Home: v.Home, Problem: p.ID, Device: v.Device, Told: now}
		e := entry(p, v.Home, cloud.KindProblemLinked, now)
		e.Subjects = append(e.Subjects, cloud.Ref{Type: cloud.RefDevice, ID: v.Device})
		if v.First != "" {
			e.Because = append(e.Because, v.First)
		}
		if err := o.opts.Append(tx, e); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	if o.opts.Tickets != nil {
		open, err := o.opts.Tickets.Unsolved(tx, v.Home)
		if err != nil {
			return err
		}
		for _, t := range open {
			// One that was open before the problem began is about something else.
			if t.Problem != "" || t.Opened.Before(p.Since) || t.Device != "" && t.Device != v.Device {
				continue
			}
			if err := o.opts.Tickets.SetProblem(tx, v.Home, t.ID, p.ID); err != nil {
				return err
			}
			a.Tickets = append(a.Tickets, t.ID)
			news = true
		}
	}
	if !news {
		return nil
	}
	return affected.Put(tx, &a)
}

// over closes a problem: first in its homes, then itself, so that a crash between loses nothing.
func (o *Outbreak) over(ctx context.Context, tenant string, p Problem) error {
	now := o.opts.Now().UTC()
	var homes []string
	err := o.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		homes = nil
		for a, err := range affected.Scan(tx, store.Range{Index: "by_problem", Prefix: store.Key{p.ID}}) {
			if err != nil {
				return err
			}
			if n := len(homes); n == 0 || homes[n-1] != a.Home {
				homes = append(homes, a.Home)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var work []store.Work
	for _, home := range homes {
		work = append(work, store.Work{Tenant: tenant, Do: func(tx store.Tx) error {
			return o.opts.Append(tx, entry(p, home, cloud.KindProblemClosed, now))
		}})
	}
	if err := errors.Join(o.opts.DB.Batch(ctx, work)...); err != nil {
		return err
	}
	return o.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		p, err := problems.Get(tx, p.ID)
		if err != nil || p.State == Closed {
			return err
		}
		p.State, p.Closed = Closed, &now
		return problems.Put(tx, &p)
	})
}

// entry says something of a problem in a home. Its id follows from what it says, so it is written once
// however often a scan runs, and a home with two victims is told once.
func entry(p Problem, home string, kind cloud.Kind, at time.Time) cloud.Entry {
	id := sha256.Sum256([]byte(string(kind) + "|" + p.ID + "|" + home))
	return cloud.Entry{
		ID:   protocol.EntryID(hex.EncodeToString(id[:13])),
		Home: home, At: at, Kind: kind,
		Subjects: []cloud.Ref{{Type: cloud.RefProblem, ID: p.ID}},
		Actor:    cloud.Ref{Type: cloud.RefService, ID: "outbreak"},
		Args:     map[string]string{"problem": p.ID, "cohort": p.Cohort.String(), "since": p.Since.Format(time.RFC3339)},
	}
}
