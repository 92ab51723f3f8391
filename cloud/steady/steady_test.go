package steady_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/steady"
)

func TestAClockIsBelievedUntilItStepsByMoreThanADay(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	type moment struct {
		after  time.Duration // of true time
		off    time.Duration // what the clock shows beyond the true time
		steady bool
	}
	for _, test := range []struct {
		name    string
		moments []moment
	}{
		{"it runs", []moment{{0, 0, true}, {time.Hour, 0, true}, {40 * day, 0, true}}},
		{"it is set by hours, both ways", []moment{{0, 0, true}, {time.Minute, 5 * time.Hour, true}, {time.Minute, -5 * time.Hour, true}}},
		{"it is ahead by a year for a while", []moment{{0, 0, true}, {time.Minute, year, false}, {59 * time.Minute, year, false}, {time.Second, 0, true}}},
		{"it is behind by a year for a while", []moment{{0, 0, true}, {time.Minute, -year, false}, {time.Minute, 0, true}}},
		{"it was set right for good", []moment{{0, 0, true}, {time.Minute, year, false}, {time.Hour, year, true}, {time.Minute, year, true}}},
		{"it jumps about", []moment{{0, 0, true}, {time.Minute, year, false}, {59 * time.Minute, -year, false}, {59 * time.Minute, year, false}}},
	} {
		for _, restart := range []bool{false, true} {
			name := test.name
			if restart {
				name += ", with a new start before every look"
			}
			t.Run(name, func(t *testing.T) {
				truth := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
				began, wall := truth, truth
				path := filepath.Join(t.TempDir(), "clock")
				start := func() *steady.Clock {
					began = truth
					c, err := steady.New(steady.Options{
						Path: path, Wall: func() time.Time { return wall },
						Elapsed: func() time.Duration { return truth.Sub(began) },
					})
					if err != nil {
						t.Fatal(err)
					}
					return c
				}
				c := start()
				for i, m := range test.moments {
					truth = truth.Add(m.after)
					wall = truth.Add(m.off)
					want := m.steady
					if restart && i > 0 {
						c = start()
						want = m.off.Abs() < day && m.after < 30*day // who starts anew waits anew
					}
					now, got := c.Now()
					if got != want {
						t.Errorf("look %d, off by %s: steady %t, want %t", i+1, m.off, got, want)
					}
					if got && !now.Equal(wall) || !got && now.Sub(truth).Abs() > day && m.after < 30*day {
						t.Errorf("look %d, off by %s: it is %s, says %s", i+1, m.off, truth, now)
					}
				}
			})
		}
	}
}
