package ingest

import (
	"slices"
	"time"
)

// clock places a device's records in true time without believing its wall clock.
//
// A batch says what the device's monotonic clock showed when it was sent, and we know when it came. The
// difference is the moment at which that clock was zero, plus the time on the way; the way only adds, so
// the smallest difference seen is the best one. A record of the same boot then happened at zero + mono.
//
//	received - sent_mono = zero + delay      zero <= every such difference
//
// Our own clock may step too. Once a device's wall clock has agreed with it the zero is sure, and what
// contradicts it from below is a clock of ours that is behind; a zero that comes out later, and the same, for
// steady long replaces the one before: ours was behind when that was found, or the device has slept.
//
// Where the wall clock agrees to within agree, it is taken as it is: the timeline then shows the times
// that are in the device's own logs.
type clock struct {
	Boots []bootClock `json:"boots,omitempty"` // ascending by Boot, the newest maxBoots
}

type bootClock struct {
	Boot uint64 `json:"boot"`
	Zero int64  `json:"zero"`           // milliseconds since 1970 when this boot's monotonic clock was zero, at most
	Sent int64  `json:"sent"`           // monotonic milliseconds of the newest batch
	Sure bool   `json:"sure,omitempty"` // the device's wall clock agreed
	Late *late  `json:"late,omitempty"` // zeros that have come out the same, and later than Zero
}

// late is a run of batches that agree on a zero.
type late struct {
	Zero int64 `json:"zero"`
	From int64 `json:"from"` // monotonic milliseconds of the first
}

const (
	maxBoots = 4
	agree    = 2 * time.Second
	steady   = 10 * time.Second // batches that were held up together were not sent so far apart
	// driftPerMillion is how far a hub's quartz may be off; the bound moves by that much as the device's time goes on.
	driftPerMillion = 200
)

// floor is before the first device of ours was made: no record is older.
var floor = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// observe takes in one batch.
func (c *clock) observe(boot uint64, sentMono, sentWall int64, received time.Time) {
	now := received.UnixMilli()
	zero := now - sentMono
	i, found := slices.BinarySearchFunc(c.Boots, boot, func(b bootClock, boot uint64) int {
		if b.Boot < boot {
			return -1
		} else if b.Boot > boot {
			return 1
		}
		return 0
	})
	fresh := near(now, sentWall) // the wall clock is right, so the batch was not held up on the way
	if !found {
		c.Boots = slices.Insert(c.Boots, i, bootClock{Boot: boot, Zero: zero, Sent: sentMono, Sure: fresh})
		if len(c.Boots) > maxBoots {
			c.Boots = c.Boots[1:]
		}
		return
	}
	b := &c.Boots[i]
	least := b.Zero - agree.Milliseconds()
	b.Zero += max(sentMono-b.Sent, 0) * driftPerMillion / 1_000_000
	b.Sent = max(b.Sent, sentMono)
	switch {
	case fresh:
		b.Zero, b.Sure, b.Late = zero, true, nil
	case zero < least && b.Sure:
	case zero <= b.Zero+agree.Milliseconds():
		b.Zero, b.Late = min(b.Zero, zero), nil
	case b.Late == nil || !near(zero, b.Late.Zero):
		b.Late = &late{zero, sentMono}
	case sentMono-b.Late.From >= steady.Milliseconds():
		b.Zero, b.Sure, b.Late = min(zero, b.Late.Zero), false, nil
	}
}

func near(a, b int64) bool { return max(a-b, b-a) <= agree.Milliseconds() }

// correct returns when something happened, by our time: never later than received.
func (c *clock) correct(boot uint64, mono, wall int64, received time.Time) time.Time {
	earliest, latest := floor.UnixMilli(), received.UnixMilli()
	known := false
	for i := range c.Boots {
		switch b := &c.Boots[i]; {
		case b.Boot < boot:
			earliest = max(earliest, b.Zero+b.Sent) // it began after that earlier boot was last heard of
		case b.Boot == boot:
			known = true
			latest = min(latest, b.Zero+mono)
		default:
			latest = min(latest, b.Zero) // it was over before this later boot began
		}
	}
	ms := latest
	switch {
	case known && near(ms, wall):
		ms = wall
	case !known && wall >= earliest && wall <= latest:
		ms = wall // nothing better is known of that boot, and it is possible
	}
	return time.UnixMilli(min(max(ms, floor.UnixMilli()), received.UnixMilli())).UTC()
}
