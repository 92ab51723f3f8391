package heap

import (
	"context"
	"runtime/metrics"
	"testing"
	"testing/synctest"
)

func TestASmallHeapGrowsToTheLeastAndALargeOneAsUsual(t *testing.T) {
	for live, want := range map[uint64]uint64{
		1 << 20:   64 * (1 << 20), // so little lives that a multiple of it says nothing
		20 << 20:  Least,
		64 << 20:  Least,
		100 << 20: 200 << 20,
		10 << 30:  20 << 30,
	} {
		got := live + live*uint64(percent(live))/100
		if got < want*97/100 || got > want*103/100 {
			t.Errorf("%d MB live are collected at %d MB, want %d", live>>20, got>>20, want>>20)
		}
	}
}

func TestTheCollectorIsAsItWasWhenRunEnds(t *testing.T) {
	t.Setenv("GOGC", "")
	gogc := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go Run(ctx)
		synctest.Wait()
		if got := gogc(); got <= usual {
			t.Errorf("%d %% while it runs: the heap of this test is small", got)
		}
		cancel()
		synctest.Wait()
	})
	if got := gogc(); got != usual {
		t.Errorf("%d %% afterwards", got)
	}
}
