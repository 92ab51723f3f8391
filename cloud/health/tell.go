package health

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// stands is how long an incident has lasted before the homes in it hear of it: a shorter one is over before anybody
// has read that there is one.
const stands = 5 * time.Minute

// part is a home that has heard of an incident.
type part struct {
	Home     string `json:"home"`
	Incident string `json:"incident"`
	Over     bool   `json:"over"` // it has heard of the end too
}

var parts = store.NewTable("incident_homes", store.Spec[part]{
	Key:   store.Columns{store.Text("home"), store.Text("incident")},
	KeyOf: func(p *part) store.Key { return store.Key{p.Home, p.Incident} },
	Indexes: []store.Index[part]{{
		Name: "by_incident",
		On:   store.Columns{store.Text("incident"), store.Text("home")},
		Of: func(p *part) store.Key {
			if p.Over {
				return nil
			}
			return store.Key{p.Incident, p.Home}
		},
	}},
})

// tell writes an incident on the timelines of the homes that are away in it, each once, and its end on those that
// have heard of it. What a crash leaves undone the next sweep does.
func (h *Watch) tell(ctx context.Context, tenant string, in Incident, away []sign) error {
	now := h.opts.Now().UTC()
	if h.opts.Append == nil || in.To == nil && now.Sub(in.From) < stands {
		return nil
	}
	heard, err := h.heard(ctx, tenant, in.ID)
	if err != nil {
		return err
	}
	var work []store.Work
	if in.To != nil {
		for home := range heard {
			work = append(work, h.says(tenant, entryOf(&in, home, cloud.KindIncidentClosed, *in.To), part{home, in.ID, true}))
		}
	} else {
		for _, s := range away {
			if heard[s.Home] || !in.covers(s.Region, s.ISP) || s.At.Before(in.From) {
				continue
			}
			heard[s.Home] = true
			e := entryOf(&in, s.Home, cloud.KindIncidentLinked, now)
			e.Subjects = append(e.Subjects, cloud.Ref{Type: cloud.RefDevice, ID: s.Device})
			if s.Entry != "" {
				e.Because = []protocol.EntryID{s.Entry}
			}
			work = append(work, h.says(tenant, e, part{s.Home, in.ID, false}))
		}
	}
	for some := range slices.Chunk(work, 1000) {
		if err := errors.Join(h.opts.DB.Batch(ctx, some)...); err != nil {
			return err
		}
	}
	return nil
}

func (h *Watch) says(tenant string, e cloud.Entry, p part) store.Work {
	return store.Work{Tenant: tenant, Do: func(tx store.Tx) error {
		return errors.Join(h.opts.Append(tx, e), parts.Put(tx, &p))
	}}
}

// heard is which homes know of an incident, and not yet that it is over.
func (h *Watch) heard(ctx context.Context, tenant, incident string) (homes map[string]bool, err error) {
	err = h.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		homes = map[string]bool{}
		for p, err := range parts.Scan(tx, store.Range{Index: "by_incident", Prefix: store.Key{incident}}) {
			if err != nil {
				return err
			}
			homes[p.Home] = true
		}
		return nil
	})
	return homes, err
}

// Place says where an incident is, as timeline.Cohort puts it into words; "" for everywhere.
func (in *Incident) Place() string {
	q := url.Values{}
	for name, v := range map[string]string{"region": in.Region, "isp": in.ISP} {
		if v != "" {
			q.Set(name, v)
		}
	}
	return q.Encode()
}

// entryOf says something of an incident in a home. Its id follows from what it says, so that it is written once.
func entryOf(in *Incident, home string, kind cloud.Kind, at time.Time) cloud.Entry {
	id := sha256.Sum256([]byte(string(kind) + "|" + in.ID + "|" + home))
	return cloud.Entry{
		ID:   protocol.EntryID(hex.EncodeToString(id[:13])),
		Home: home, At: at, Kind: kind,
		Subjects: []cloud.Ref{{Type: cloud.RefIncident, ID: in.ID}},
		Actor:    cloud.Ref{Type: cloud.RefService, ID: "health"},
		Args: map[string]string{
			"incident": in.ID, "segment": string(in.Segment), "cohort": in.Place(), "since": in.From.UTC().Format(time.RFC3339),
		},
	}
}
