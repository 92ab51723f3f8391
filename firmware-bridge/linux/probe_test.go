package linux

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAProbeThatWaitsShowsBeforeItFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p probes
		fails := false
		one := &target{size: 4, last: -1, ask: func(ctx context.Context) (time.Duration, error) {
			if !fails {
				return 3 * time.Millisecond, nil
			}
			select {
			case <-time.After(time.Second):
				return 0, errTimeout
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}}
		ask := []*target{one}
		if !math.IsNaN(one.latency()) || !math.IsNaN(one.failures()) {
			t.Error("values before the first probe")
		}
		p.round(t.Context(), ask, 250*time.Millisecond)
		if one.latency() != 3 || one.failures() != 0 {
			t.Errorf("after a good probe: %g ms, %g", one.latency(), one.failures())
		}
		fails = true
		began := time.Now()
		p.round(t.Context(), ask, 250*time.Millisecond)
		if took := time.Since(began); took != 250*time.Millisecond {
			t.Errorf("a round took %v", took)
		}
		if one.latency() != 250 {
			t.Errorf("while it waits the latency is %g ms, want 250", one.latency())
		}
		time.Sleep(500 * time.Millisecond)
		p.round(t.Context(), ask, 0) // it is not asked a second time meanwhile
		if one.latency() != 750 || one.failures() != 0 {
			t.Errorf("while it waits: %g ms, %g", one.latency(), one.failures())
		}
		time.Sleep(500 * time.Millisecond)
		if !math.IsNaN(one.latency()) || one.failures() != 0.5 {
			t.Errorf("after it failed: %g ms, %g", one.latency(), one.failures())
		}
		p.round(t.Context(), ask, 10*time.Millisecond)
		p.close() // ends what still waits, and counts it as nothing
		if one.failures() != 0.5 {
			t.Errorf("a probe that was ended counts: %g", one.failures())
		}
	})
}

func TestTheRatioForgetsOldProbes(t *testing.T) {
	one := &target{size: 4, last: -1}
	outcome := func(err error) { one.begin(); one.end(time.Millisecond, err) }
	for range 4 {
		outcome(errTimeout)
	}
	for i, want := range []float64{0.75, 0.5, 0.25, 0, 0} {
		outcome(nil)
		if got := one.failures(); got != want {
			t.Errorf("after %d good ones the ratio is %g, want %g", i+1, got, want)
		}
	}
	outcome(errNoOutcome)
	if got := one.failures(); got != 0 {
		t.Errorf("no outcome counts as %g", got)
	}
}

func TestASeriesAddsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		s := repeat(t.Context(), 4, 10*time.Millisecond, func(context.Context) (time.Duration, error) {
			n := asked.Add(1)
			if n == 2 {
				return 0, errTimeout
			}
			return time.Duration(n) * time.Millisecond, nil
		})
		if s.sent != 4 || s.answered != 3 || s.least != time.Millisecond || s.most != 4*time.Millisecond || s.loss() != 0.25 || !errors.Is(s.last, errTimeout) {
			t.Errorf("got %+v", s)
		}
		if want := (1.0 + 3 + 4) / 3; math.Abs(s.value(false)-want) > 1e-5 {
			t.Errorf("the mean is %g, want %g", s.value(false), want)
		}
	})
}
