package restart

import (
	"testing"
	"time"
)

func TestTheShareIsOfAnySecondNotOfThoseOfAClock(t *testing.T) {
	ms := func(at ...int) (back []time.Duration) {
		for _, n := range at {
			back = append(back, time.Duration(n)*time.Millisecond)
		}
		return back
	}
	for name, test := range map[string]struct {
		back []time.Duration
		want Round
	}{
		"one agent":                 {ms(1500), Round{"", 1.5, 1.5, 1}},
		"evenly":                    {ms(0, 1000, 2000, 3000), Round{"", 3, 2, 0.25}},
		"three astride of a second": {ms(100, 1800, 2000, 2700, 9000), Round{"", 9, 2, 0.6}},
	} {
		if got := judge("", test.back); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
