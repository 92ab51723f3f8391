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
// Where the wall clock agrees to within agree, it is taken as it is: the timeline then shows the times
// that are in the device's own logs.
type clock struct {
	Boots []bootClock `json:"boots,omitempty"` // ascending by Boot, the newest maxBoots
}

type bootClock struct {
	Boot uint64 `json:"boot"`
	Zero int64  `json:"zero"` // milliseconds since 1970 when this boot's monotonic clock was zero, at most
	Seen int64  `json:"seen"` // milliseconds since 1970 of the last batch
}

const (
	maxBoots = 4
	agree    = 2 * time.Second
	// driftPerMillion is how far a hub's quartz may be off; the bound moves by that much as time goes on.
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
	if !found {
		c.Boots = slices.Insert(c.Boots, i, bootClock{boot, zero, now})
		if len(c.Boots) > maxBoots {
			c.Boots = c.Boots[1:]
		}
		return
	}
	b := &c.Boots[i]
	fresh := near(now, sentWall) // the wall clock is right, so the batch was not held up on the way
	b.Zero += max(now-b.Seen, 0) * driftPerMillion / 1_000_000
	if zero < b.Zero || fresh {
		b.Zero = zero
	}
	b.Seen = max(b.Seen, now)
}

func near(a, b int64) bool { return max(a-b, b-a) <= agree.Milliseconds() }

// correct returns when something happened, by our time: never later than received.
func (c *clock) correct(boot uint64, mono, wall int64, received time.Time) time.Time {
	ms := received.UnixMilli()
	known := false
	for i := len(c.Boots) - 1; i >= 0 && c.Boots[i].Boot >= boot; i-- {
		if b := c.Boots[i]; b.Boot == boot {
			known = true
			ms = min(ms, b.Zero+mono)
		} else {
			ms = min(ms, b.Zero) // it was over before this later boot began
		}
	}
	switch {
	case known && near(ms, wall):
		ms = wall
	case !known && wall >= floor.UnixMilli() && wall <= ms:
		ms = wall // nothing better is known of that boot, and it is possible
	}
	return time.UnixMilli(min(max(ms, floor.UnixMilli()), received.UnixMilli())).UTC()
}
