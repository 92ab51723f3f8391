package health

import (
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
)

func TestHomesInAnIncidentHearOfItOnceAndOfItsEnd(t *testing.T) {
	w := newTown(t, 1200)
	w.h.opts.Append = w.log.Append
	told := func(kind cloud.Kind) (n int) {
		w.view(func(tx store.Tx) error {
			n = 0
			for _, h := range w.homes {
				entries, err := timeline.Since(tx, h.ID, time.Time{}, 100)
				if err != nil {
					return err
				}
				of := 0
				for _, e := range entries {
					if e.Kind == kind {
						of++
						if kind == cloud.KindIncidentLinked && (len(e.Because) != 1 || e.Args["segment"] != "isp" || e.Args["cohort"] != "region=r2") {
							t.Errorf("%+v", e)
						}
					}
				}
				if of > 1 {
					t.Errorf("home %s has %d of %s", h.ID, of, kind)
				}
				n += of
			}
			return nil
		})
		return n
	}
	minutes := func(n int) {
		for range n {
			w.now = w.now.Add(time.Minute)
			w.sweep()
		}
	}
	var gone, back []int
	for i, h := range w.homes {
		if h.Region == "r2" {
			gone = append(gone, i)
		}
	}
	all := func(homes []int, kind cloud.Kind) {
		var work []store.Work
		for _, i := range homes {
			work = append(work, w.entry(i, w.now, kind, nil))
		}
		w.batch(work...)
	}
	gone, back = gone[:290], gone[290:]
	all(gone, cloud.KindDeviceOffline)
	minutes(4)
	if n := told(cloud.KindIncidentLinked); n != 0 {
		t.Fatalf("%d homes heard of an incident of four minutes", n)
	}
	all(back, cloud.KindDeviceOffline) // they vanish while it lasts
	minutes(6)
	if n := told(cloud.KindIncidentLinked); n != 300 {
		t.Fatalf("%d of 300 homes heard of it", n)
	}
	all(back, cloud.KindDeviceOnline)
	minutes(2)
	all(back, cloud.KindDeviceOffline)
	minutes(2)
	all(append(gone, back...), cloud.KindDeviceOnline)
	minutes(5)
	if n, over := told(cloud.KindIncidentLinked), told(cloud.KindIncidentClosed); n != 300 || over != 300 || len(w.incidents()) != 1 {
		t.Errorf("%d heard of it and %d of its end, incidents %+v", n, over, w.incidents())
	}
}
