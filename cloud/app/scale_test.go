package app

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// TestCallersAndTimelinesAreAnsweredFastAmongManyHomes fills a service and measures through HTTP. Set
// HEARTH_HOMES to fill more than a few; the bound holds for a machine that is not busy elsewhere.
func TestCallersAndTimelinesAreAnsweredFastAmongManyHomes(t *testing.T) {
	homes, entries := 300, 60
	if s := os.Getenv("HEARTH_HOMES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		homes = n
	}
	w := newWorld(t)
	device := cloud.Ref{Type: cloud.RefDevice}
	for at := 0; at < homes; at += 500 {
		var work []store.Work
		for i := at; i < min(at+500, homes); i++ {
			work = append(work, store.Work{Tenant: tenant, Do: func(tx store.Tx) error {
				id := fmt.Sprintf("h%07d", i)
				if _, err := fleet.AddHome(tx, cloud.Home{ID: id, Name: id}); err != nil {
					return err
				}
				if _, err := fleet.Add(tx, cloud.Device{ID: "d" + id, Home: id, Name: "Hub"}); err != nil {
					return err
				}
				if _, err := identity.Add(tx, cloud.Customer{ID: "c" + id, Name: "Name " + id, Phones: []string{fmt.Sprintf("+8869%08d", i)}}, ""); err != nil {
					return err
				}
				if err := identity.Begin(tx, cloud.Membership{Customer: "c" + id, Home: id, Role: "owner", Begin: time.Now()}); err != nil {
					return err
				}
				for n := range entries {
					e := cloud.Entry{
						ID: protocol.DeviceEntryID("d"+id, 1, uint64(n+1)), Home: id, Kind: "symptom.cleared", Actor: device, Subjects: []cloud.Ref{device},
						At: time.Now().Add(time.Duration(n-entries) * time.Minute), Args: map[string]string{"metric": "dns.latency_ms", "instance": "10.0.0.1", "value": "12"},
					}
					if err := w.timeline.Append(tx, e); err != nil {
						return err
					}
				}
				return nil
			}})
		}
		for _, err := range w.db.Batch(t.Context(), work) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	b := w.staff()
	const asks = 200
	for name, path := range map[string]func(i int) string{
		"caller":   func(i int) string { return fmt.Sprintf("/v1/callers?phone=%%2B8869%08d", i) },
		"timeline": func(i int) string { return fmt.Sprintf("/v1/homes/h%07d/entries", i) },
	} {
		var took []time.Duration
		for n := range asks {
			i := n * 7919 % homes
			begin := time.Now()
			b.want(200, "GET", path(i), nil)
			took = append(took, time.Since(begin))
		}
		slices.Sort(took)
		t.Logf("%s among %d homes of %d entries: p50 %s, p99 %s", name, homes, entries, took[asks/2], took[asks*99/100])
		if p50 := took[asks/2]; p50 > 50*time.Millisecond {
			t.Errorf("%s takes %s", name, p50)
		}
	}
}
