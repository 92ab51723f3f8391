package predict

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// Telemetry reads what a device measured; cloud/telemetry provides it.
type Telemetry interface {
	Samples(tx store.Tx, home, device string, from, to time.Time, each func([]protocol.Sample)) (unread int, err error)
}

// Fleet lists devices; cloud/fleet provides it through the app.
type Fleet interface {
	// Devices returns up to limit devices whose ids are above after, in order of id.
	Devices(tx store.Tx, after string, limit int) ([]cloud.Device, error)
}

// Archive is the Source that the store is: telemetry to learn from, and the timeline for the answers.
type Archive struct {
	DB        store.DB
	Tenant    string
	Fleet     Fleet
	Telemetry Telemetry
	From, To  time.Time
	Most      int // histories; 0 means all
	// Late is for how long after To the timeline is read, for what came of it; 0 reads no further.
	Late time.Duration
	// OwnFault says that the service itself was down at a time, so that devices were not heard through no fault of
	// theirs. Nil: never.
	OwnFault func(at time.Time) bool
}

// Histories yields one history a device, each read in a transaction of its own. Devices without telemetry in the
// time are left out.
func (a Archive) Histories(ctx context.Context) iter.Seq2[History, error] {
	return func(yield func(History, error) bool) {
		after := ""
		for n := 0; ; {
			var page []cloud.Device
			err := a.DB.View(ctx, a.Tenant, func(tx store.Tx) (err error) {
				page, err = a.Fleet.Devices(tx, after, 100)
				return err
			})
			if err != nil {
				yield(History{}, err)
				return
			}
			for _, d := range page {
				after = d.ID
				h, err := a.history(ctx, d)
				if err == nil && h.Samples == nil {
					continue
				}
				n++
				if !yield(h, err) || err != nil || n == a.Most {
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

func (a Archive) history(ctx context.Context, d cloud.Device) (History, error) {
	h := History{Device: d.ID, Home: d.Home}
	err := a.DB.View(ctx, a.Tenant, func(tx store.Tx) error {
		var rows []protocol.Sample
		if _, err := a.Telemetry.Samples(tx, d.Home, d.ID, a.From, a.To, func(s []protocol.Sample) { rows = append(rows, s...) }); err != nil {
			return err
		}
		h.Samples = nil
		if len(rows) > 0 {
			h.Samples = inOrder(rows)
		}
		var entries []cloud.Entry
		have := map[protocol.EntryID]bool{}
		for from := a.From; ; {
			const many = 500
			page, err := timeline.Since(tx, d.Home, from, many)
			if err != nil {
				return err
			}
			fresh := 0
			for _, e := range page {
				if e.At.Before(a.To.Add(a.Late)) && !have[e.ID] {
					have[e.ID] = true
					entries = append(entries, e)
					fresh++
				}
			}
			if len(page) < many || fresh == 0 {
				break
			}
			from = page[len(page)-1].At // its neighbours of the same moment come again and are known
		}
		h.Faults = Labels(entries, d.ID, a.To.Add(a.Late), a.OwnFault)
		return nil
	})
	return h, err
}

// inOrder yields samples by wall clock; blocks that were spilled may overlap.
func inOrder(rows []protocol.Sample) iter.Seq[Sample] {
	slices.SortStableFunc(rows, func(a, b protocol.Sample) int { return int(max(-1, min(1, a.Wall-b.Wall))) })
	names := map[*protocol.Schema][]string{}
	return func(yield func(Sample) bool) {
		for _, r := range rows {
			n := names[r.Schema]
			if n == nil {
				for _, m := range r.Schema.Metrics {
					n = append(n, m.String())
				}
				names[r.Schema] = n
			}
			if !yield(Sample{At: float64(r.Wall) / 1000, Metrics: n, Values: r.Values}) {
				return
			}
		}
	}
}

// FeltBefore is for how long before a customer speaks of a fault it counts as having been there.
const FeltBefore = 30 * time.Minute

// Labels reads from a home's timeline when the connection of a device failed: the times it was offline, those that
// ended in a ticket about a segment of its connection, from the first thing the ticket follows from, and symptoms that
// a fix ended. What a customer told us of began FeltBefore earlier. Two things are left unclear: a silence that began
// while the service was down, and a risk that a fix ended before anything showed, for nobody knows what would have
// come. The entries are in order of time; end is where they end.
func Labels(entries []cloud.Entry, device string, end time.Time, ownFault func(time.Time) bool) []Fault {
	var out []Fault
	var offline *cloud.Entry
	at := make(map[protocol.EntryID]*cloud.Entry, len(entries))
	add := func(from, to time.Time, kind string, unclear bool) {
		out = append(out, Fault{
			From: float64(from.UnixMilli()) / 1000, To: float64(to.UnixMilli()) / 1000, Kind: kind,
			Unclear: unclear || ownFault != nil && ownFault(from),
		})
	}
	for i := range entries {
		e := &entries[i]
		at[e.ID] = e
		if e.Device() != device {
			continue
		}
		switch e.Kind {
		case cloud.KindDeviceOffline:
			if offline == nil {
				offline = e
			}
		case cloud.KindDeviceOnline:
			if offline != nil {
				add(offline.At, e.At, "offline", false)
				offline = nil
			}
		case cloud.KindTicketOpened:
			if s := e.Args["segment"]; s != "" && s != string(protocol.SegmentUnknown) {
				from, _ := began(e, at)
				add(from, e.At, s, false)
			}
		case cloud.Kind(protocol.EventFixVerified):
			from, felt := began(e, at)
			add(from, e.At, "repaired", !felt)
		}
	}
	if offline != nil {
		add(offline.At, end, "offline", false)
	}
	return out
}

// began is when the first cause of an entry was seen or felt; felt is false when a risk was all there was.
func began(e *cloud.Entry, known map[protocol.EntryID]*cloud.Entry) (first time.Time, felt bool) {
	first = e.At
	seen := map[protocol.EntryID]bool{}
	todo := []*cloud.Entry{e}
	for len(todo) > 0 {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[c.ID] {
			continue
		}
		seen[c.ID] = true
		at := c.At
		if c.Kind == cloud.KindContact {
			at = at.Add(-FeltBefore)
		}
		felt = felt || c.Kind == cloud.KindContact || c.Kind == cloud.Kind(protocol.EventSymptom)
		if at.Before(first) {
			first = at
		}
		for _, id := range c.Because {
			if cause := known[id]; cause != nil {
				todo = append(todo, cause)
			}
		}
	}
	return first, felt
}
