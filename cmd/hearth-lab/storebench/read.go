package storebench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
)

const pageSize = 50

// read measures n reads of each kind, all kinds in turn so that the machine treats them alike, each on
// homes and callers of its own that are drawn afresh: the cache is the machine's, warm for what is often
// read and cold for the rest. With a window it stops when that is over.
func (f *fleetOf) read(ctx context.Context, b backend, n int, window time.Duration) (r Reads, rows int, err error) {
	rng := rand.New(rand.NewPCG(1, 2))
	var page, caller, raw, rawDecoded, rawCaller samples
	begun := time.Now()
	for i := 0; i < n && (window == 0 || time.Since(begun) < window); i++ {
		kinds := []func(home, who int) error{
			func(home, _ int) error {
				start := time.Now()
				err := b.db().View(ctx, tenant, func(tx store.Tx) error {
					p, _, err := timeline.Page(tx, homeID(home), "", pageSize)
					rows = len(p)
					return err
				})
				page.add(time.Since(start))
				return err
			},
			func(home, _ int) error {
				start := time.Now()
				docs, err := b.rawPage(ctx, homeID(home), pageSize)
				took := time.Since(start)
				raw.add(took)
				if err != nil {
					return err
				}
				start = time.Now()
				got, err := decode(b.codec(), docs)
				rawDecoded.add(took + time.Since(start))
				if got != pageSize {
					return fmt.Errorf("raw page of %d rows", got)
				}
				return err
			},
			func(_, who int) error {
				start := time.Now()
				err := f.lookup(ctx, b, who)
				caller.add(time.Since(start))
				return err
			},
			func(_, who int) error {
				start := time.Now()
				got, err := b.rawCaller(ctx, who)
				rawCaller.add(time.Since(start))
				if err == nil && got != 3 {
					err = fmt.Errorf("raw lookup of caller %d found %d rows", who, got)
				}
				return err
			},
		}
		for k := range kinds { // a different one first each time
			home := rng.IntN((f.customers+talkative-1)/talkative) * talkative
			if err := kinds[(k+i)%len(kinds)](home, rng.IntN(f.customers)); err != nil {
				return r, rows, err
			}
		}
	}
	r = Reads{
		Timeline: page.latency(), Caller: caller.latency(),
		RawPage: raw.latency(), RawDecode: rawDecoded.latency(), RawCaller: rawCaller.latency(),
	}
	r.PageRatio = r.Timeline.P50 / r.RawPage.P50
	r.DecodedRatio = r.Timeline.P50 / r.RawDecode.P50
	r.CallerRatio = r.Caller.P50 / r.RawCaller.P50
	return r, rows, nil
}

// lookup is what the console asks when the phone rings: who it is, where they live, what stands there.
func (f *fleetOf) lookup(ctx context.Context, b backend, who int) error {
	return b.db().View(ctx, tenant, func(tx store.Tx) error {
		found, err := identity.ByPhone(tx, phone(who))
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return fmt.Errorf("%d customers of %s", len(found), phone(who))
		}
		homes, err := identity.Homes(tx, found[0].ID)
		if err != nil {
			return err
		}
		if len(homes) != 1 {
			return fmt.Errorf("%d homes of %s", len(homes), found[0].ID)
		}
		devices, err := fleet.Devices(tx, homes[0].Home)
		if err == nil && len(devices) != 1 {
			err = fmt.Errorf("%d devices in %s", len(devices), homes[0].Home)
		}
		return err
	})
}

// readWhileAppending reads while entries come in at a rate.
func (f *fleetOf) readWhileAppending(ctx context.Context, b backend, n int, rate float64, window time.Duration) (*Reads, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	loaded := make(chan error, 1)
	go func() {
		_, _, err := f.load(ctx, b, b.workers(), 100, rate, window)
		loaded <- err
	}()
	r, _, err := f.read(ctx, b, n, window)
	cancel()
	if lerr := <-loaded; err == nil {
		err = lerr
	}
	return &r, err
}
