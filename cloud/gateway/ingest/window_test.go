package ingest

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAWindowKnowsExactlyWhatWasAddedInWhateverOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		model := map[uint64]bool{}
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			from := rapid.Uint64Range(1, 400).Draw(t, "from")
			s := span{from, from + rapid.Uint64Range(1, 12).Draw(t, "length")}
			missing := uint64(0)
			for i := s.From; i < s.To; i++ {
				if !model[i] {
					missing++
				}
			}
			if got := w.missing(s); got != missing {
				t.Fatalf("missing(%v) = %d, want %d (window %+v)", s, got, missing, w)
			}
			if w.add(s) {
				for i := s.From; i < s.To; i++ {
					model[i] = true
				}
			} else if len(w.Ahead) < maxAhead {
				t.Fatalf("refused %v with %d spans ahead", s, len(w.Ahead))
			}
			contiguous := uint64(0)
			for model[contiguous+1] {
				contiguous++
			}
			if w.Committed != contiguous {
				t.Fatalf("committed %d, want %d", w.Committed, contiguous)
			}
			at := w.Committed + 1
			for _, a := range w.Ahead {
				if a.From <= at || a.To <= a.From {
					t.Fatalf("spans touch, overlap or are out of order: %+v", w)
				}
				at = a.To
			}
		}
	})
}

func TestAWindowThatIsTooScatteredRefusesAndRecovers(t *testing.T) {
	var w window
	for i := range uint64(maxAhead) {
		if !w.add(span{3 + 2*i, 4 + 2*i}) {
			t.Fatalf("refused span %d", i)
		}
	}
	before := slices.Clone(w.Ahead)
	if w.add(span{10_000, 10_001}) || !slices.Equal(before, w.Ahead) {
		t.Fatal("took one span too many, or changed while refusing")
	}
	if !w.add(span{1, 3}) || w.Committed != 3 || !w.add(span{10_000, 10_001}) {
		t.Fatalf("did not recover: %+v", w)
	}
}

func TestTimesAreCorrectedWhateverTheDevicesClockShows(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ms := now.UnixMilli()
	for _, test := range []struct {
		name       string
		batches    func(*clock)
		boot       uint64
		mono, wall int64
		want       time.Time
	}{
		{
			"a clock that is right is taken as it is",
			func(c *clock) { c.observe(1, 60_000, ms-40, now) },
			1, 50_000, ms - 10_040, now.Add(-10_040 * time.Millisecond),
		},
		{
			"a clock in 1970 counts for nothing",
			func(c *clock) { c.observe(1, 60_000, 60_000, now) },
			1, 50_000, 50_000, now.Add(-10 * time.Second),
		},
		{
			"a clock ten years ahead counts for nothing",
			func(c *clock) { c.observe(1, 60_000, ms+315e9, now) },
			1, 50_000, ms + 315e9 - 10_000, now.Add(-10 * time.Second),
		},
		{
			"a clock that was set right in between changes nothing for what came before",
			func(c *clock) { c.observe(1, 60_000, ms, now) },
			1, 10_000, 1_000, now.Add(-50 * time.Second),
		},
		{
			"a batch held up on the way moves nothing, once one has come fast",
			func(c *clock) {
				c.observe(1, 30_000, 30_000, now.Add(-30*time.Second))
				c.observe(1, 40_000, 40_000, now)
			},
			1, 35_000, 35_000, now.Add(-25 * time.Second),
		},
		{
			"an earlier boot with a possible clock is believed",
			func(c *clock) { c.observe(2, 60_000, ms, now) },
			1, 5_000, ms - 3_600_000, now.Add(-time.Hour),
		},
		{
			"an earlier boot with an impossible clock was over before this one began",
			func(c *clock) { c.observe(2, 60_000, ms, now) },
			1, 5_000, 5_000, now.Add(-time.Minute),
		},
		{
			"an earlier boot is not believed to have been before the one before it",
			func(c *clock) {
				c.observe(1, 30_000, ms-60_000, now.Add(-time.Minute))
				c.observe(3, 10_000, ms, now)
			},
			2, 5_000, ms - 3_600_000, now.Add(-10 * time.Second),
		},
		{
			"our clock was behind for a while, which a device with a right one does not follow",
			func(c *clock) {
				c.observe(1, 30_000, ms-30_000, now.Add(-30*time.Second))
				c.observe(1, 40_000, ms-20_000, now.Add(-20*time.Second-time.Hour))
				c.observe(1, 55_000, ms-5_000, now) // held up, so that its wall clock says nothing
			},
			1, 50_000, ms - 10_000, now.Add(-10 * time.Second),
		},
		{
			"our clock was behind when a device with a wrong one was first heard",
			func(c *clock) {
				c.observe(1, 20_000, 20_000, now.Add(-40*time.Second-time.Hour))
				for sent := int64(40_000); sent <= 60_000; sent += 5_000 {
					c.observe(1, sent, sent, now.Add(time.Duration(sent-60_000)*time.Millisecond))
				}
			},
			1, 50_000, 50_000, now.Add(-10 * time.Second),
		},
		{
			"our clock was twenty years ahead for a while",
			func(c *clock) {
				c.observe(1, 20_000, 20_000, now.Add(-40*time.Second))
				for sent := int64(30_000); sent <= 50_000; sent += 5_000 {
					c.observe(1, sent, sent, now.AddDate(20, 0, 0).Add(time.Duration(sent-60_000)*time.Millisecond))
				}
				c.observe(1, 60_000, 60_000, now)
			},
			1, 50_000, 50_000, now.Add(-10 * time.Second),
		},
		{
			"batches that were held up together move nothing, however many",
			func(c *clock) {
				c.observe(1, 1_000, 1_000, now.Add(-time.Hour+time.Second))
				for sent := int64(10_000); sent < 40_000; sent += 5_000 {
					c.observe(1, sent, sent, now)
				}
			},
			1, 50_000, 50_000, now.Add(-time.Hour + 50*time.Second),
		},
		{
			"nothing is later than its arrival",
			func(c *clock) { c.observe(1, 60_000, 0, now) },
			1, 90_000, 0, now,
		},
		{
			"nothing is older than the first device",
			func(c *clock) { c.observe(1, 1<<49, 0, now) },
			1, 0, 0, floor,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var c clock
			test.batches(&c)
			got := c.correct(test.boot, test.mono, test.wall, now)
			if d := got.Sub(test.want); d < -10*time.Millisecond || d > 10*time.Millisecond {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestAClockKeepsTheNewestBootsInOrder(t *testing.T) {
	var c clock
	for _, boot := range []uint64{5, 3, 9, 7, 8, 2} {
		c.observe(boot, 1000, 0, time.UnixMilli(int64(boot)*1e9))
	}
	var boots []uint64
	for _, b := range c.Boots {
		boots = append(boots, b.Boot)
	}
	if !slices.Equal(boots, []uint64{5, 7, 8, 9}) {
		t.Errorf("kept %v", boots)
	}
}
