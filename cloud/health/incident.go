package health

import (
	"context"
	"errors"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Incident is one thing that made many homes vanish at once. Empty Region and ISP mean everywhere.
type Incident struct {
	ID      string           `json:"id"`
	Region  string           `json:"region,omitempty"`
	ISP     string           `json:"isp,omitempty"`
	Segment protocol.Segment `json:"segment"` // cloud when it is everywhere, isp when it has a place
	From    time.Time        `json:"from"`    // when the first home vanished
	To      *time.Time       `json:"to,omitempty"`
	Homes   int              `json:"homes"` // away at its worst
	State   string           `json:"state"` // "open" or "closed"
}

// covers reports whether a place lies in the incident's.
func (in *Incident) covers(region, isp string) bool {
	return (in.Region == "" || in.Region == region) && (in.ISP == "" || in.ISP == isp)
}

var incidents = store.NewTable("incidents", store.Spec[Incident]{
	Key:   store.Columns{store.Text("incident")},
	KeyOf: func(in *Incident) store.Key { return store.Key{in.ID} },
	Indexes: []store.Index[Incident]{{
		Name: "by_begin",
		On:   store.Columns{store.Text("state"), store.Time("begin")},
		Of:   func(in *Incident) store.Key { return store.Key{in.State, in.From} },
	}},
})

// Incidents returns a page of the incidents in a state ("open" or "closed"), newest first.
func Incidents(tx store.Tx, state string, after store.Cursor, limit int) ([]Incident, store.Cursor, error) {
	return incidents.Page(tx, store.Range{Index: "by_begin", Prefix: store.Key{state}, Reverse: true, After: after, Limit: limit})
}

// Covering returns the incident that a home was in at a time, if there was one: it counts from Settle before
// the first home was seen to vanish until Settle after its end, as clocks and notices lag.
func Covering(tx store.Tx, home cloud.Home, at time.Time) (Incident, bool, error) {
	for _, state := range []string{"open", "closed"} {
		r := store.Range{Index: "by_begin", Prefix: store.Key{state}, To: at.Add(Settle), Reverse: true}
		if state == "closed" {
			r.From = at.Add(-longest)
		}
		for in, err := range incidents.Scan(tx, r) {
			if err != nil {
				return Incident{}, false, err
			}
			if in.covers(home.Region, home.ISP) && (in.To == nil || !at.After(in.To.Add(Settle))) {
				return in, true, nil
			}
		}
	}
	return Incident{}, false, nil
}

// longest is how far back a closed incident is looked for.
const longest = 7 * 24 * time.Hour

// During returns the incidents that overlap from and to, oldest first within their states.
func (h *Watch) During(ctx context.Context, tenant string, from, to time.Time) (out []Incident, err error) {
	err = h.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		out = nil
		for _, state := range []string{"closed", "open"} {
			for in, err := range incidents.Scan(tx, store.Range{Index: "by_begin", Prefix: store.Key{state}, To: to}) {
				if err != nil {
					return err
				}
				if in.To == nil || !in.To.Before(from) {
					out = append(out, in)
				}
			}
		}
		return nil
	})
	return out, err
}

// sign says that a device is away, and where it stands.
type sign struct {
	Home   string           `json:"home"`
	Device string           `json:"device"`
	Region string           `json:"region"`
	ISP    string           `json:"isp"`
	At     time.Time        `json:"at"`              // when it vanished
	Entry  protocol.EntryID `json:"entry,omitempty"` // that says so
}

var signs = store.NewTable("health_signs", store.Spec[sign]{
	Key:   store.Columns{store.Text("home"), store.Text("device")},
	KeyOf: func(s *sign) store.Key { return store.Key{s.Home, s.Device} },
	Indexes: []store.Index[sign]{{
		Name: "by_time",
		On:   store.Columns{store.Time("at")},
		Of:   func(s *sign) store.Key { return store.Key{s.At} },
	}},
})

func (h *Watch) vanished(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	device := e.Device()
	if device == "" {
		return nil, nil
	}
	home, err := h.opts.Fleet.Home(tx, e.Home)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return nil, signs.Put(tx, &sign{e.Home, device, home.Region, home.ISP, e.At, e.ID})
}

func (h *Watch) returned(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	err := signs.Delete(tx, e.Home, e.Device())
	if errors.Is(err, store.ErrNotFound) || e.Device() == "" {
		err = nil
	}
	return nil, err
}

// census is how many homes stand where.
type census struct {
	Name  string    `json:"name"` // always "fleet"
	At    time.Time `json:"at"`
	Cells []place   `json:"cells"`
}

type place struct {
	Region string `json:"region"`
	ISP    string `json:"isp"`
	Homes  int    `json:"homes"`
}

var censuses = store.NewTable("health_census", store.Spec[census]{
	Key:   store.Columns{store.Text("name")},
	KeyOf: func(c *census) store.Key { return store.Key{c.Name} },
})

func (c *census) homes() (n int) {
	for _, p := range c.Cells {
		n += p.Homes
	}
	return n
}

func censusOf(tx store.Tx) (census, error) {
	c, err := censuses.Get(tx, "fleet")
	if errors.Is(err, store.ErrNotFound) {
		return census{}, nil
	}
	return c, err
}
