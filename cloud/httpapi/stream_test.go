package httpapi

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/wake"
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
