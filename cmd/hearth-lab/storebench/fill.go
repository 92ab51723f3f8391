package storebench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// fleetOf is the population of a run, worked out from numbers and never held in memory.
type fleetOf struct {
	customers int
	entries   int
	per       []int        // entries that a home has so far: of a talkative one, of another
	extra     atomic.Int64 // number of the entry appended last; begins where no earlier run has been
}

// Every tenth home is talkative.
const talkative = 10

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func homeID(i int) string               { return fmt.Sprintf("home-%07d", i) }
func deviceID(i int) string             { return fmt.Sprintf("hub-%07d", i) }
func phone(i int) string                { return fmt.Sprintf("+8869%08d", i) }
func entryID(i, n int) protocol.EntryID { return protocol.EntryID(fmt.Sprintf("hub-%07d.7.%d", i, n)) }

// people writes customers, homes, memberships and devices as the packages that own them would, without their
// looks for earlier ones: the ids are fresh.
func (f *fleetOf) people(ctx context.Context, b backend) error {
	homes, devices := fleet.Tables()[0].Schema(), fleet.Tables()[1].Schema()
	customers, memberships := identity.Tables()[0].Schema(), identity.Tables()[1].Schema()
	return each(f.customers, 500, b.workers(), func(from, to int) error {
		return b.db().Update(ctx, tenant, func(tx store.Tx) error {
			for i := from; i < to; i++ {
				home := homeID(i)
				c := cloud.Customer{
					ID: fmt.Sprintf("c-%07d", i), Name: fmt.Sprintf("Wei Lin %d", i), Language: "zh-TW", Since: epoch,
					Phones: []string{phone(i)}, Emails: []string{fmt.Sprintf("wei%d@example.com", i)}, Accounts: []string{},
				}
				if err := errors.Join(
					put(tx, homes, &cloud.Home{ID: home, Name: "Home " + home, Region: "tw-north"}, false),
					// Replacing one looks for its old phones and names, which makes many workers collide.
					put(tx, customers, &c, true),
					put(tx, memberships, &cloud.Membership{Customer: c.ID, Home: home, Role: "owner", Begin: epoch}, false),
					put(tx, devices, &cloud.Device{ID: deviceID(i), Home: home, Name: "Hub", Model: "H1", Firmware: "2.4.1", Hardware: "r3", Added: epoch}, false),
				); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func put(tx store.Tx, s *store.Schema, v any, insert bool) error {
	doc, err := tx.Rows().Codec().Marshal(v)
	if err != nil {
		return err
	}
	return tx.Rows().Put(s, v, doc, insert)
}

// fill brings the timelines to a total of about n entries and returns what there are. A talkative home gets
// nine times a tenth of what an even share would be, the others what is left. When they are there already,
// it only counts.
func (f *fleetOf) fill(ctx context.Context, b backend, n int, there bool) (total int, err error) {
	loud := (f.customers + talkative - 1) / talkative
	want := []int{max(60, n*8/10/loud), 0}
	want[1] = max(0, (n-want[0]*loud)/(f.customers-loud))
	if f.per == nil {
		f.per = []int{0, 0}
	}
	if there {
		f.per = want
	}
	s := timeline.Tables()[0].Schema()
	// One row after the other as the timeline would write them, without its look for an earlier one: the
	// ids are fresh.
	err = each(f.customers, max(1, 4000/max(1, want[0]/5)), b.workers(), func(from, to int) error {
		return b.db().Update(ctx, tenant, func(tx store.Tx) error {
			for i := from; i < to; i++ {
				k := 1
				if i%talkative == 0 {
					k = 0
				}
				for j := f.per[k]; j < want[k]; j++ {
					e := entryOf(i, j, epoch.Add(time.Duration(j)*time.Hour+time.Duration(i)*time.Millisecond))
					if err := put(tx, s, &e, false); err != nil {
						return err
					}
				}
			}
			return nil
		})
	})
	f.per = []int{max(want[0], f.per[0]), max(want[1], f.per[1])}
	return f.per[0]*loud + f.per[1]*(f.customers-loud), err
}

// each calls do for pieces of 0..n from several goroutines. Each has a stretch of its own: neighbours in a
// serialisable index stand in each other's way.
func each(n, piece, workers int, do func(from, to int) error) error {
	errs := make(chan error, workers)
	for w := range workers {
		go func() {
			var err error
			end := n * (w + 1) / workers
			for from := n * w / workers; from < end && err == nil; from += piece {
				err = do(from, min(end, from+piece))
			}
			errs <- err
		}()
	}
	var first error
	for range workers {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (f *fleetOf) documentBytes(b backend) (float64, error) {
	var total int
	for i := range 100 {
		e := entryOf(i, i+1, epoch.Add(time.Duration(i)*time.Hour))
		doc, err := b.codec().Marshal(&e)
		if err != nil {
			return 0, err
		}
		total += len(doc)
	}
	return float64(total) / 100, nil
}

// append appends entries by way of the timeline, to random homes.
func (f *fleetOf) append(ctx context.Context, b backend, window time.Duration) (Append, error) {
	a := Append{Workers: 2 * b.workers(), Batch: 250}
	n, lat, err := f.load(ctx, b, a.Workers, a.Batch, 0, window)
	if err != nil {
		return a, err
	}
	a.PerSecond, a.BatchLatency = float64(n)/window.Seconds(), lat.latency()
	if n, lat, err = f.load(ctx, b, 64, 1, 0, window); err != nil {
		return a, err
	}
	a.SinglePerS, a.Single = float64(n)/window.Seconds(), lat.latency()
	return a, nil
}

// load appends for a while: workers batches at a time, at most rate entries a second (0: no limit).
func (f *fleetOf) load(ctx context.Context, b backend, workers, batch int, rate float64, window time.Duration) (n int, lat samples, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	log := timeline.New(nil)
	begun := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var planned atomic.Int64
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 7))
			for time.Since(begun) < window && ctx.Err() == nil {
				if rate > 0 { // keep to the plan, whichever worker it falls to
					at := time.Duration(float64(planned.Add(int64(batch))) / rate * float64(time.Second))
					time.Sleep(time.Until(begun.Add(at)))
				}
				work := make([]store.Work, batch)
				for i := range work {
					e := entryOf(rng.IntN(f.customers), int(f.extra.Add(1)), time.Now())
					e.Because = nil
					work[i] = store.Work{Tenant: tenant, Do: func(tx store.Tx) error { return log.Append(tx, e) }}
				}
				start := time.Now()
				errs := b.db().Batch(ctx, work)
				took := time.Since(start)
				mu.Lock()
				lat.add(took)
				for _, e := range errs {
					if e == nil {
						n++
					} else if err == nil && ctx.Err() == nil {
						err = e
						cancel()
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return n, lat, err
}

func decode(c store.Codec, docs [][]byte) (int, error) {
	page := make([]cloud.Entry, len(docs))
	for i, d := range docs {
		if err := c.Unmarshal(d, &page[i]); err != nil {
			return 0, err
		}
	}
	return len(page), nil
}
