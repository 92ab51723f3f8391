package uplink_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/outbox"
	"github.com/hearthline/hearthline/agent/uplink"
)

// attempts runs n uplinks from the same moment on, in fake time, against a cloud that nobody reaches, and
// returns when each attempt to connect came.
func attempts(t *testing.T, n int, span time.Duration, atOnce bool) (at []time.Duration) {
	box, err := outbox.Open(outbox.Options{Path: filepath.Join(t.TempDir(), "outbox.db"), Device: "hub", Clock: agent.NewClock()})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), span)
		defer cancel()
		begin := time.Now()
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range n {
			up, err := uplink.New(uplink.Options{
				Tenant: "acme", Device: "hub", Spool: box, Clock: agent.NewClock(), AtOnce: atOnce,
				Dial: func(context.Context) (net.Conn, error) {
					mu.Lock()
					defer mu.Unlock()
					at = append(at, time.Since(begin))
					return nil, errors.New("nobody there")
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				if err := up.Run(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	slices.Sort(at)
	return at
}

// With 2,000 devices 50 are to be expected in a second, and where the first second attempts meet the last
// first ones for a moment 67; 100 would be four deviations off.
func TestATownWhosePowerReturnsDoesNotComeBackInOneSecond(t *testing.T) {
	const n, most = 2000, 100
	at := attempts(t, n, 2*time.Minute, false)
	from := 0
	for i := range at {
		for at[i]-at[from] >= time.Second {
			from++
		}
		if i-from+1 > most {
			t.Fatalf("%d of %d devices try within the second that ends %s after the start", i-from+1, n, at[i])
		}
	}
	if first := at[0]; first > 5*time.Second {
		t.Errorf("the first of %d tries after %s", n, first)
	}
	if at[n-1] > time.Minute {
		t.Errorf("%d attempts were made only after %s", n, at[n-1])
	}
	if len(at) < 2*n {
		t.Errorf("%d attempts of %d devices in two minutes: some have given up", len(at), n)
	}
}

func TestADeviceThatWasJustEnrolledTriesAtOnceAndThenAsAllDo(t *testing.T) {
	at := attempts(t, 1, 2*time.Minute, true)
	if at[0] != 0 {
		t.Errorf("the first attempt came after %s", at[0])
	}
	if len(at) < 2 || at[1] == 0 {
		t.Errorf("attempts came at %s", at)
	}
}
