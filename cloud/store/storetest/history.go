package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/hearthline/hearthline/cloud/store"
)

// registers is how many rows a concurrent history is about. Few, so that transactions collide.
const registers = 4

// bound keeps the sums in registers from growing for ever.
const bound = 1_000_003

type state [registers]int64

// call is one transaction of a history: it reads some registers, and writes one of them to the sum of what
// it read plus a number of its own, within bounds. Reading what it does not write makes write skew visible.
type call struct {
	reads []int
	write int // -1: a view
	add   int64
	sleep bool // between reading and writing, so that others get in between
}

// serial is the model that porcupine checks against: transactions one at a time, each within its call. It
// asks for a little more than serialisability: an order that agrees with real time.
var serial = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(s, in, out any) (bool, any) {
		st, c, seen := s.(state), in.(call), out.([]int64)
		var sum int64
		for i, r := range c.reads {
			if st[r] != seen[i] {
				return false, st
			}
			sum += seen[i]
		}
		if c.write >= 0 {
			st[c.write] = (sum + c.add) % bound
		}
		return true, st
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %v", in, out) },
}

func testHistories(t *testing.T, e Engine) {
	db := open(t, e)
	rounds := 4
	if long() {
		rounds = 100
	}
	for round := range rounds {
		ops, conflicts := record(t, db, newTenant(), uint64(round))
		switch porcupine.CheckOperationsTimeout(serial, ops, time.Minute) {
		case porcupine.Ok:
		case porcupine.Illegal:
			t.Fatalf("round %d: a history of %d transactions is not serialisable", round, len(ops))
		default:
			t.Fatalf("round %d: the checker did not come to an end", round)
		}
		if len(ops) < conflicts {
			t.Errorf("round %d: %d transactions were given up and only %d went through", round, conflicts, len(ops))
		}
	}
}

// record runs clients side by side and returns what they did.
func record(t testing.TB, db store.DB, tenant string, seed uint64) (ops []porcupine.Operation, conflicts int) {
	t.Helper()
	update(t, db, tenant, func(tx store.Tx) error {
		for r := range registers {
			if err := Things.Put(tx, &Thing{Home: "r", N: int64(r), Due: noon}); err != nil {
				return err
			}
		}
		return nil
	})
	var (
		mu    sync.Mutex
		wg    sync.WaitGroup
		begun = time.Now()
	)
	for client := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(client)))
			for i := range 25 {
				c := call{write: -1, sleep: rng.IntN(2) == 0}
				for r := range registers {
					if rng.IntN(2) == 0 {
						c.reads = append(c.reads, r)
					}
				}
				if rng.IntN(4) > 0 {
					c.write, c.add = rng.IntN(registers), int64(client*1000+i)
				}
				from := time.Since(begun)
				seen, err := do(db, tenant, c)
				to := time.Since(begun)
				mu.Lock()
				switch {
				case errors.Is(err, store.ErrConflict):
					conflicts++
				case err != nil:
					t.Error(err)
				default:
					ops = append(ops, porcupine.Operation{ClientId: client, Input: c, Call: int64(from), Output: seen, Return: int64(to)})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return ops, conflicts
}

func do(db store.DB, tenant string, c call) (seen []int64, err error) {
	run := db.Update
	if c.write < 0 {
		run = db.View
	}
	const unit = time.Microsecond // a register's value is the distance of its row's time from noon
	err = run(context.Background(), tenant, func(tx store.Tx) error {
		seen = nil
		var sum int64
		for _, r := range c.reads {
			v, err := Things.Get(tx, "r", r)
			if err != nil {
				return err
			}
			seen = append(seen, int64(v.Due.Sub(noon)/unit))
			sum += seen[len(seen)-1]
		}
		if c.sleep {
			time.Sleep(time.Duration(len(c.reads)) * 100 * time.Microsecond)
		}
		if c.write < 0 {
			return nil
		}
		return Things.Put(tx, &Thing{Home: "r", N: int64(c.write), Due: noon.Add(time.Duration((sum+c.add)%bound) * unit)})
	})
	return seen, err
}
