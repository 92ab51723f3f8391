package httpapi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/cloud/assist"
	"github.com/hearthline/hearthline/cloud/gateway/wake"
	"github.com/hearthline/hearthline/protocol"
)

func TestAStreamOfChangesMakesItsReaderLookAgainThoughEveryWakeIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var live wake.Local
		a := &API{Services: Services{Live: &live}}
		run, err := a.changes("acme", "home1", "home2")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		type said struct {
			home  string
			after time.Duration
		}
		var got []said
		go run(ctx, func(_ string, data any) error {
			got = append(got, said{data.(Changed).Home, time.Since(begin)})
			return nil
		})
		synctest.Wait()
		live.Wake("acme", "home2")
		time.Sleep(LookAgain) // fake time: no wake comes
		time.Sleep(LookAgain)
		synctest.Wait()
		cancel()
		synctest.Wait()
		want := []said{{"", 0}, {"home2", 0}, {"", LookAgain}, {"", 2 * LookAgain}}
		if !slices.Equal(got, want) {
			t.Errorf("the stream said %v, want %v", got, want)
		}
	})
}

// relayed is the part of Signals that listens.
type relayed struct {
	Signals
	relay *assist.Relay
}

func (r relayed) Watch(ctx context.Context, tenant, device, session string, each func(protocol.Signal) error) error {
	return r.relay.Watch(ctx, tenant, device, session, each)
}

func TestAStreamOfSignalsSaysThatItStandsAndEndsWithItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		relay := assist.NewRelay(nil)
		a := &API{Services: Services{Signals: relayed{relay: relay}}}
		begin := time.Now()
		var got []string
		done := make(chan error, 1)
		go func() {
			done <- a.signals("acme", "hub1", "s1")(t.Context(), func(event string, _ any) error {
				if got = append(got, fmt.Sprint(event, " ", time.Since(begin))); len(got) == 4 {
					return errors.New("the reader is gone")
				}
				return nil
			})
		}()
		synctest.Wait()
		relay.Deliver("acme", "hub1", protocol.Signal{Session: "s1", Kind: "answer"})
		time.Sleep(LookAgain + time.Second) // fake time
		relay.Deliver("acme", "hub1", protocol.Signal{Session: "s1", Kind: "candidate"})
		<-done
		want := []string{"signal 0s", "alive 20s", "signal 21s", "alive 40s"}
		if !slices.Equal(got, want) {
			t.Errorf("the stream said %q, want %q", got, want)
		}
	})
}
