package outbreak

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
)

// Cohort is what devices have in common. An empty field means any; in a device's own, not known.
type Cohort struct {
	Model    string `json:"model,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	Hardware string `json:"hardware,omitempty"`
	Region   string `json:"region,omitempty"`
	ISP      string `json:"isp,omitempty"`
}

func (c Cohort) labels() []string { return []string{c.Model, c.Firmware, c.Hardware, c.Region, c.ISP} }

// Contains reports whether a device with these labels belongs to the cohort.
func (c Cohort) Contains(device Cohort) bool {
	of := device.labels()
	for i, v := range c.labels() {
		if v != "" && v != of[i] {
			return false
		}
	}
	return true
}

// String is what is known by name, as timeline.Cohort puts it into words: "model=HL-2&firmware=3.9.2", escaped as in
// a URL's query.
func (c Cohort) String() string {
	var parts []string
	for i, v := range c.labels() {
		if v != "" {
			parts = append(parts, dimensions[i]+"="+url.QueryEscape(v))
		}
	}
	return strings.Join(parts, "&")
}

// nested reports whether one of the two cohorts lies within the other.
func (c Cohort) nested(o Cohort) bool { return c.Contains(o) || o.Contains(c) }

// span is what a device was from a step on.
type span struct {
	From int64  `json:"from"`
	What Cohort `json:"what"`
}

// member is a device's place in the cohorts over the time that scans cover.
type member struct {
	Home   string `json:"home"`
	Device string `json:"device"`
	Spans  []span `json:"spans"`          // oldest first; at least one
	Gone   int64  `json:"gone,omitempty"` // step it left the fleet at; 0 while it is in it
}

var members = store.NewTable("outbreak_members", store.Spec[member]{
	Key:   store.Columns{store.Text("home"), store.Text("device")},
	KeyOf: func(m *member) store.Key { return store.Key{m.Home, m.Device} },
})

// progress is how far a tenant's scans have come.
type progress struct {
	Name    string `json:"name"`    // always "fleet"
	Roster  int64  `json:"roster"`  // steps before this one have their silences written
	Scanned int64  `json:"scanned"` // alarms of steps before this one were dealt with
}

var scans = store.NewTable("outbreak_scans", store.Spec[progress]{
	Key:   store.Columns{store.Text("name")},
	KeyOf: func(p *progress) store.Key { return store.Key{p.Name} },
})

func (o *Outbreak) progress(ctx context.Context, tenant string) (p progress, err error) {
	err = o.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		p, err = scans.Get(tx, "fleet")
		if errors.Is(err, store.ErrNotFound) {
			p, err = progress{Name: "fleet"}, nil
		}
		return err
	})
	return p, err
}

// call goes through the fleet: it writes down what changed of each device, and the steps that are over
// and in which it was not heard of. Homes are written one transaction each.
func (o *Outbreak) call(ctx context.Context, tenant string, p progress, now time.Time) error {
	present := o.stepOf(now)
	if p.Roster == 0 {
		p.Roster = present // nothing was written down before: who was silent then cannot be known
	}
	var after store.Cursor
	for {
		var work []store.Work
		err := o.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
			work = nil
			homes, next, err := o.opts.Fleet.Homes(tx, after, 200)
			if err != nil {
				return err
			}
			for _, h := range homes {
				w, err := o.callHome(tx, h, p.Roster, present, now)
				if err != nil {
					return err
				}
				if w != nil {
					work = append(work, store.Work{Tenant: tenant, Do: w})
				}
			}
			after = next
			return nil
		})
		if err != nil {
			return err
		}
		if err := errors.Join(o.opts.DB.Batch(ctx, work)...); err != nil {
			return err
		}
		if after == "" {
			return nil
		}
	}
}

// callHome returns what there is to write for a home, or nil.
func (o *Outbreak) callHome(tx store.Tx, h cloud.Home, from, present int64, now time.Time) (func(store.Tx) error, error) {
	devices, err := o.opts.Fleet.Devices(tx, h.ID)
	if err != nil {
		return nil, err
	}
	known := map[string]member{}
	for m, err := range members.Scan(tx, store.Range{Prefix: store.Key{h.ID}}) {
		if err != nil {
			return nil, err
		}
		known[m.Device] = m
	}
	var changed []member
	var silent []day
	for _, d := range devices {
		m, ok := known[d.ID]
		delete(known, d.ID)
		what := Cohort{d.Model, d.Firmware, d.Hardware, h.Region, h.ISP}
		if !ok {
			// What it is now, it is taken to have been: of before nothing is known.
			m = member{Home: h.ID, Device: d.ID, Spans: []span{{o.stepOf(d.Added), what}}}
			changed = append(changed, m)
		} else if last := m.Spans[len(m.Spans)-1]; last.What != what || m.Gone != 0 {
			m.Gone = 0
			m.Spans = o.trim(append(slices.Clone(m.Spans), span{present, what}), present)
			changed = append(changed, m)
		}
		heard, err := o.opts.Fleet.Heard(tx, h.ID, d.ID, now)
		if err != nil {
			return nil, err
		}
		for s := max(from, present-int64(o.opts.Learn+o.opts.Watch)); s < present; s++ {
			if heard.Before(o.timeOf(s)) {
				silent = append(silent, day{Home: h.ID, Device: d.ID, Step: s})
			}
		}
	}
	for _, m := range known {
		if m.Gone == 0 {
			m.Gone = present
			changed = append(changed, m)
		}
	}
	if changed == nil && silent == nil {
		return nil, nil
	}
	return func(tx store.Tx) error {
		for _, m := range changed {
			if err := members.Put(tx, &m); err != nil {
				return err
			}
		}
		for _, s := range silent {
			d, err := days.Get(tx, s.Home, s.Device, s.Step)
			if errors.Is(err, store.ErrNotFound) {
				d, err = s, nil
			}
			if err != nil {
				return err
			}
			d.Silent = true
			if err := days.Put(tx, &d); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// trim drops spans that ended before anything a scan covers, and all but the last of one step.
func (o *Outbreak) trim(s []span, present int64) []span {
	for len(s) > 1 && (s[1].From <= present-int64(o.opts.Learn+o.opts.Watch) || s[0].From == s[1].From) {
		s = s[1:]
	}
	if n := len(s); n > 1 && s[n-1].From == s[n-2].From {
		s = append(s[:n-2], s[n-1])
	}
	return s
}

// forget removes what scans no longer cover.
func (o *Outbreak) forget(ctx context.Context, tenant string, before int64) error {
	for {
		var old []day
		err := o.opts.DB.View(ctx, tenant, func(tx store.Tx) (err error) {
			old = nil
			for d, err := range days.Scan(tx, store.Range{Index: "by_step", To: before, Limit: 1000}) {
				if err != nil {
					return err
				}
				old = append(old, d)
			}
			return nil
		})
		if err != nil || len(old) == 0 {
			return err
		}
		err = o.byHome(ctx, tenant, old, func(tx store.Tx, d day) error {
			if err := days.Delete(tx, d.Home, d.Device, d.Step); !errors.Is(err, store.ErrNotFound) {
				return err
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}
