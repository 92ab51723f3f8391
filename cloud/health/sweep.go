package health

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// Fleet is what the package needs to know of homes.
type Fleet interface {
	// Home returns a home, or store.ErrNotFound.
	Home(tx store.Tx, id string) (cloud.Home, error)
	// Homes pages through all homes.
	Homes(tx store.Tx, after store.Cursor, limit int) ([]cloud.Home, store.Cursor, error)
}

// Options configures a Watch. DB and Fleet are required.
type Options struct {
	DB    store.DB
	Fleet Fleet
	// Append writes an entry to a home's timeline, for homes that an incident reaches. Nil: they do not hear of it.
	Append func(tx store.Tx, e cloud.Entry) error
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
}

// Watch keeps the scores and finds incidents. It is safe for concurrent use.
type Watch struct{ opts Options }

// New checks the options.
func New(opts Options) (*Watch, error) {
	if opts.DB == nil || opts.Fleet == nil {
		return nil, errors.New("health: DB and Fleet are required")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Watch{opts}, nil
}

// QueueSweep is the queue of the timer that looks for incidents.
const QueueSweep = "health-sweep"

const (
	every  = time.Minute      // between two sweeps
	window = 15 * time.Minute // homes that vanish within it vanished together
	counts = time.Hour        // between two counts of the homes

	fewest   = 5     // homes that make an incident
	share    = 0.2   // of the homes of a place
	usual    = 0.002 // of all homes are expected to vanish in a window anyhow
	standout = 12.0  // log likelihood ratio above which a place stands out
	scatter  = 0.1   // share of the homes elsewhere above which it is no matter of the place
	trickle  = 0.02  // share of all homes, in no place more than another, that is our doing
)

// Arm sets a tenant's timer for the next sweep. Call it at start; arming twice sets one timer.
func (h *Watch) Arm(ctx context.Context, tenant string) error {
	next := h.opts.Now().UTC().Truncate(every).Add(every)
	return h.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		return store.Enqueue(tx, store.Job{Queue: QueueSweep, ID: strconv.FormatInt(next.Unix(), 10), Due: next})
	})
}

// Handle is the timer's work: it arms the next one, then sweeps.
func (h *Watch) Handle(ctx context.Context, j store.Job) error {
	if err := h.Arm(ctx, j.Tenant); err != nil {
		return err
	}
	return h.Sweep(ctx, j.Tenant)
}

// Sweep opens, widens and closes incidents, and lets the homes in them know. It may be repeated at will.
func (h *Watch) Sweep(ctx context.Context, tenant string) error {
	if err := h.sweep(ctx, tenant); err != nil {
		return fmt.Errorf("sweep for incidents: %w", err)
	}
	return nil
}

func (h *Watch) sweep(ctx context.Context, tenant string) error {
	now := h.opts.Now().UTC()
	c, err := h.count(ctx, tenant, now)
	if err != nil {
		return err
	}
	var away []sign
	var open, late []Incident
	err = h.opts.DB.View(ctx, tenant, func(tx store.Tx) error {
		away, open, late = nil, nil, nil
		for in, err := range incidents.Scan(tx, store.Range{Index: "by_begin", Prefix: store.Key{"open"}}) {
			if err != nil {
				return err
			}
			open = append(open, in)
		}
		for in, err := range incidents.Scan(tx, store.Range{Index: "by_begin", Prefix: store.Key{"closed"}, From: now.Add(-longest)}) {
			if err != nil {
				return err
			}
			if in.To.After(now.Add(-window)) {
				late = append(late, in)
			}
		}
		from := now.Add(-window)
		for _, in := range open {
			if in.From.Before(from) {
				from = in.From
			}
		}
		for s, err := range signs.Scan(tx, store.Range{Index: "by_time", From: from}) {
			if err != nil {
				return err
			}
			away = append(away, s)
		}
		return nil
	})
	if err != nil {
		return err
	}
	fresh := slices.DeleteFunc(slices.Clone(away), func(s sign) bool {
		return s.At.Before(now.Add(-window)) || slices.ContainsFunc(late, func(in Incident) bool {
			return in.covers(s.Region, s.ISP) && !s.At.After(*in.To) // it belongs to what is over
		})
	})
	found, ok := jointly(c, fresh)
	changed := open
	if ok {
		changed = merge(open, found)
	}
	err = h.opts.DB.Update(ctx, tenant, func(tx store.Tx) error {
		for i := range changed {
			in := &changed[i]
			gone := in.away(away)
			in.Homes = max(in.Homes, gone)
			if gone < max(fewest, in.Homes/10) {
				in.State, in.To = "closed", &now
			}
			if err := incidents.Put(tx, in); err != nil {
				return err
			}
		}
		return nil
	})
	for _, in := range slices.Concat(changed, late) {
		if err == nil {
			err = h.tell(ctx, tenant, in, away)
		}
	}
	return err
}

// away counts the homes of the incident's place that are away since it began.
func (in *Incident) away(signs []sign) int {
	homes := map[string]bool{}
	for _, s := range signs {
		if in.covers(s.Region, s.ISP) && !s.At.Before(in.From) {
			homes[s.Home] = true
		}
	}
	return len(homes)
}

// merge makes a finding part of the open incident that it lies within or around, or a new one.
func merge(open []Incident, found Incident) []Incident {
	out := slices.Clone(open)
	for i := range out {
		in := &out[i]
		if in.covers(found.Region, found.ISP) {
			return out
		}
		if found.covers(in.Region, in.ISP) {
			found.ID, found.From, found.Homes = in.ID, earlier(in.From, found.From), max(in.Homes, found.Homes)
			out[i] = found
			return out
		}
	}
	found.ID = cloud.NewID()
	return append(out, found)
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// jointly says whether homes that vanished in one window vanished for one reason, and where. Places are
// compared by Kulldorff's spatial scan statistic (1997): how much likelier the away are with one rate
// inside and one outside than with one rate everywhere.
func jointly(c census, away []sign) (Incident, bool) {
	type tally struct{ away, homes float64 }
	cells := map[place]*tally{}
	for _, p := range c.Cells {
		cells[place{p.Region, p.ISP, 0}] = &tally{homes: float64(p.Homes)}
	}
	seen := map[string]bool{}
	first := map[place]time.Time{}
	all := tally{homes: float64(c.homes())}
	for _, s := range away {
		if seen[s.Home] {
			continue
		}
		seen[s.Home] = true
		all.away++
		for _, p := range []place{{}, {Region: s.Region}, {ISP: s.ISP}, {Region: s.Region, ISP: s.ISP}} {
			if t, ok := first[p]; !ok || s.At.Before(t) {
				first[p] = s.At
			}
		}
		if t := cells[place{s.Region, s.ISP, 0}]; t != nil {
			t.away++
		}
	}
	if all.away < fewest {
		return Incident{}, false
	}
	places := map[place]*tally{}
	for at, t := range cells {
		for _, p := range []place{{Region: at.Region}, {ISP: at.ISP}, at} {
			if p == (place{}) {
				continue
			}
			if places[p] == nil {
				places[p] = &tally{}
			}
			places[p].away += t.away
			places[p].homes += t.homes
		}
	}
	// In a fixed order, the wide before the narrow, so that of places alike the wide one is named.
	order := make([]place, 0, len(places))
	for p := range places {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.dims(), b.dims()), cmp.Compare(a.Region, b.Region), cmp.Compare(a.ISP, b.ISP))
	})
	best, top := place{}, standout
	for _, p := range order {
		t := places[p]
		if t.away < fewest || t.away < share*t.homes {
			continue
		}
		if l := likelihood(t.away, t.homes, all.away, all.homes); l > top {
			best, top = p, l
		}
	}
	if best != (place{}) {
		t := places[best]
		if rest := all.homes - t.homes; rest > 0 && all.away-t.away < scatter*rest {
			return Incident{
				Region: best.Region, ISP: best.ISP, Segment: protocol.SegmentISP,
				From: first[best], Homes: int(t.away), State: "open",
			}, true
		}
	}
	if all.away >= trickle*all.homes && likelihood(all.away, all.homes, all.away, all.homes) > standout {
		return Incident{Segment: protocol.SegmentCloud, From: first[place{}], Homes: int(all.away), State: "open"}, true
	}
	return Incident{}, false
}

func (p place) dims() (n int) {
	if p.Region != "" {
		n++
	}
	if p.ISP != "" {
		n++
	}
	return n
}

// likelihood compares k of n away with the rate outside, which is at least the usual one.
func likelihood(k, n, all, homes float64) float64 {
	outside := usual
	if homes > n {
		outside = max(outside, (all-k)/(homes-n))
	}
	if k <= n*outside {
		return 0
	}
	return k*math.Log(k/(n*outside)) - (k - n*outside)
}

// count returns how many homes stand where, counting them again when the last count is old.
func (h *Watch) count(ctx context.Context, tenant string, now time.Time) (c census, err error) {
	err = h.opts.DB.View(ctx, tenant, func(tx store.Tx) (err error) {
		c, err = censusOf(tx)
		return err
	})
	if err != nil || !c.At.IsZero() && now.Sub(c.At) < counts && len(c.Cells) > 0 {
		return c, err
	}
	homes := map[place]int{}
	var after store.Cursor
	for more := true; more; more = after != "" {
		var page []cloud.Home
		err := h.opts.DB.View(ctx, tenant, func(tx store.Tx) (err error) {
			page, after, err = h.opts.Fleet.Homes(tx, after, 1000)
			return err
		})
		if err != nil {
			return c, err
		}
		for _, home := range page {
			homes[place{Region: home.Region, ISP: home.ISP}]++
		}
	}
	c = census{Name: "fleet", At: now}
	for p, n := range homes {
		p.Homes = n
		c.Cells = append(c.Cells, p)
	}
	slices.SortFunc(c.Cells, func(a, b place) int { return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.ISP, b.ISP)) })
	return c, h.opts.DB.Update(ctx, tenant, func(tx store.Tx) error { return censuses.Put(tx, &c) })
}
