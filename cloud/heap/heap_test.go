package heap

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"testing/synctest"
	"time"
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

func TestABusyHeapMayGrowAndAQuietOneMayNot(t *testing.T) {
	t.Setenv("GOGC", "")
	gogc := func() uint64 {
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go Run(ctx)
		look := func(collections int) {
			synctest.Wait()
			for range collections {
				runtime.GC()
			}
			time.Sleep(every)
			synctest.Wait()
		}
		for n := range lasting {
			if got := gogc(); got != usual {
				t.Errorf("%d %% after %d busy looks", got, n)
			}
			look(often + 1)
		}
		if gogc() <= usual {
			t.Errorf("%d %% after %d busy looks", gogc(), lasting)
		}
		if look(1); gogc() <= usual {
			t.Errorf("%d %% while it is still collected", gogc())
		}
		if look(0); gogc() != usual {
			t.Errorf("%d %% when all is quiet", gogc())
		}
		for range lasting {
			look(often + 1)
		}
		cancel()
		synctest.Wait()
	})
	if got := gogc(); got != usual {
		t.Errorf("%d %% afterwards", got)
	}
}
