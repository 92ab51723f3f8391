package chaos

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// Audit compares what the fleet's ledger says with what the cloud holds. Ledger and Devices are required.
type Audit struct {
	Ledger  string
	Devices int
	Until   int64  // events recorded by then must be there, acknowledged or not (see sinceBoot); 0: only what was acknowledged
	Wrong   []Span // when the cloud's own clock was wrong
}

// Span is from one moment to another in milliseconds since the machine was started.
type Span struct{ From, To int64 }

// Verdict is what an Audit finds.
type Verdict struct {
	Acked        int      `json:"acked"`         // distinct records that a device was told are committed
	Lost         int      `json:"lost"`          // of them, neither there nor declared as dropped
	Undelivered  int      `json:"undelivered"`   // events that an outbox took before Until, and that are not there
	Doubled      int      `json:"doubled"`       // records that are there more than once
	GapsDeclared int      `json:"gaps_declared"` // records that devices had to drop, and said so
	Events       int      `json:"events"`        // of the acknowledged
	Telemetry    int      `json:"telemetry"`     // of the acknowledged
	Recorded     int      `json:"recorded"`      // events that a device's outbox took
	Dated        int      `json:"dated"`         // events whose time on the timeline was checked
	Misdated     int      `json:"misdated"`      // of them, wrong by more than tolerance
	WorstOffMS   int64    `json:"worst_off_ms"`  // the greatest error of those that are not
	Examples     []string `json:"examples,omitempty"`
}

// tolerance is how wrong the time of an event may be: what was first heard of a device's present start may
// have been on its way for as long as a partition lasts and reconnecting backs off.
const tolerance = 3 * time.Minute

func (v *Verdict) example(format string, args ...any) {
	if len(v.Examples) < 10 {
		v.Examples = append(v.Examples, fmt.Sprintf(format, args...))
	}
}

// holding is what the cloud has.
type holding struct {
	there   map[place]int       // how often
	dated   map[place]time.Time // events
	dropped map[string]int      // records declared as dropped, by device and lane
}

// Judge reads the whole store of the lab.
func (a Audit) Judge(ctx context.Context, db store.DB) (v Verdict, err error) {
	book, err := readLedger(a.Ledger)
	if err != nil {
		return v, fmt.Errorf("ledger: %w", err)
	}
	h := &holding{map[place]int{}, map[place]time.Time{}, map[string]int{}}
	for i := range a.Devices {
		err := db.View(ctx, Tenant, func(tx store.Tx) error {
			if err := h.readTimeline(tx, homeID(i)); err != nil {
				return err
			}
			return telemetry.Keeper{}.Places(tx, homeID(i), deviceID(i), func(epoch, sequence uint64) {
				h.there[place{deviceID(i), protocol.LaneTelemetry, epoch, sequence}]++
			})
		})
		if err != nil {
			return v, err
		}
	}
	v.count(h, book, a.Until)
	v.date(h, book, a.Wrong)
	return v, nil
}

func (v *Verdict) count(h *holding, b *book, until int64) {
	v.Acked, v.Recorded = len(b.told), len(b.recorded)
	for _, n := range h.dropped {
		v.GapsDeclared += n
	}
	for p, n := range h.there {
		if n > 1 {
			v.Doubled += n - 1
			v.example("%d times: %+v", n, p)
		}
	}
	missing := map[string]int{}
	for p := range b.told {
		if p.lane == protocol.LaneEvent {
			v.Events++
		} else {
			v.Telemetry++
		}
		schema := p.lane == protocol.LaneTelemetry && p.sequence == 1 // opens every epoch and is no block
		if h.there[p] == 0 && !schema {
			missing[p.device+"/"+p.lane.String()]++
			v.example("missing: %+v", p)
		}
	}
	for p, at := range b.recorded {
		if _, told := b.told[p]; !told && at <= until && h.there[p] == 0 {
			v.Undelivered++
			v.example("recorded and not delivered: %+v", p)
		}
	}
	for key, n := range missing {
		v.Lost += max(n-h.dropped[key], 0)
	}
}

// date checks the times of events that were recorded, committed and acknowledged while the cloud's clock
// was right. This process's clock is.
func (v *Verdict) date(h *holding, b *book, wrong []Span) {
	started := time.Now().Add(-time.Duration(sinceBoot()) * time.Millisecond)
	for p, recorded := range b.recorded {
		at, there := h.dated[p]
		told, acked := b.told[p]
		if !there || !acked || overlaps(wrong, recorded, told) {
			continue
		}
		v.Dated++
		off := at.Sub(started.Add(time.Duration(recorded) * time.Millisecond))
		if off.Abs() > tolerance {
			v.Misdated++
			v.example("off by %s: %+v", off.Round(time.Second), p)
			continue
		}
		v.WorstOffMS = max(v.WorstOffMS, off.Abs().Milliseconds())
	}
}

// overlaps tells whether any span has a moment between from and to.
func overlaps(spans []Span, from, to int64) bool {
	for _, s := range spans {
		if s.From <= to && from <= s.To {
			return true
		}
	}
	return false
}

func (h *holding) readTimeline(tx store.Tx, home string) error {
	var after store.Cursor
	for {
		page, next, err := timeline.Page(tx, home, after, 1000)
		if err != nil {
			return err
		}
		for _, e := range page {
			if e.Kind == cloud.KindTelemetryGap && e.Args["reason"] == "restart" {
				continue // the device says that we forgot what we had acknowledged: that excuses nothing
			}
			device := e.Subject(cloud.RefDevice)
			if _, epoch, seq, ok := e.ID.Device(); ok {
				p := place{device, protocol.LaneEvent, epoch, seq}
				h.there[p]++
				h.dated[p] = e.At
			}
			if e.Kind != cloud.KindTelemetryGap {
				continue
			}
			n, err := strconv.Atoi(e.Args["records"])
			if err != nil {
				return fmt.Errorf("gap %s: %w", e.ID, err)
			}
			h.dropped[device+"/"+e.Args["lane"]] += n
		}
		if after = next; after == "" {
			return nil
		}
	}
}
