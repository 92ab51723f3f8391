package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
)

// short is a lease that runs out while a test waits; far is one that does not.
const (
	short = 50 * time.Millisecond
	far   = time.Hour
)

func enqueue(t testing.TB, db store.DB, tenant string, jobs ...store.Job) {
	t.Helper()
	update(t, db, tenant, func(tx store.Tx) error {
		for _, j := range jobs {
			if err := store.Enqueue(tx, j); err != nil {
				return err
			}
		}
		return nil
	})
}

func claim(t testing.TB, db store.DB, queue, owner string, max int, lease time.Duration) []store.Job {
	t.Helper()
	jobs, err := db.Claim(context.Background(), queue, owner, max, lease)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func ids(jobs []store.Job) []string {
	var out []string
	for _, j := range jobs {
		out = append(out, j.ID)
	}
	return out
}

// eventually waits for real time to pass in an engine whose clock is its own.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func testJobs(t *testing.T, e Engine) {
	db := open(t, e)
	ctx := context.Background()
	for _, c := range []struct {
		name string
		test func(t *testing.T, queue, tenant string)
	}{
		{"are claimed across tenants, longest due first", func(t *testing.T, queue, tenant string) {
			other := newTenant()
			past := time.Now().Add(-time.Hour)
			enqueue(t, db, tenant,
				store.Job{Queue: queue, ID: "second", Due: past.Add(2), Payload: []byte{0, 255}},
				store.Job{Queue: queue, ID: "later", Due: time.Now().Add(far)},
				store.Job{Queue: queue, ID: "third", Due: past.Add(time.Second)})
			enqueue(t, db, other, store.Job{Queue: queue, ID: "first", Due: past.Add(-time.Second)}, store.Job{Queue: queue, ID: "now"})
			got := claim(t, db, queue, "me", 3, far)
			if want := []string{"first", "second", "third"}; !slices.Equal(ids(got), want) {
				t.Fatalf("claimed %v, want %v", ids(got), want)
			}
			if got[0].Tenant != other || got[1].Tenant != tenant || got[1].Attempts != 1 || got[1].Owner != "me" || !slices.Equal(got[1].Payload, []byte{0, 255}) {
				t.Errorf("claimed %+v", got[:2])
			}
			if more := claim(t, db, queue, "you", 9, far); !slices.Equal(ids(more), []string{"now"}) {
				t.Errorf("then claimed %v, want now", ids(more))
			}
			waiting, err := db.Waiting(ctx, queue, 10)
			if err != nil || len(waiting) != 5 {
				t.Errorf("waiting: %v, %v", ids(waiting), err)
			}
		}},
		{"of one id are one job", func(t *testing.T, queue, tenant string) {
			other := newTenant()
			j := store.Job{Queue: queue, ID: "x", Payload: []byte("first")}
			enqueue(t, db, tenant, j)
			again := j
			again.Payload = []byte("again")
			enqueue(t, db, tenant, again, again)
			enqueue(t, db, other, j) // another tenant's x is another job
			got := claim(t, db, queue, "me", 9, far)
			if len(got) != 2 || string(got[0].Payload) != "first" {
				t.Fatalf("claimed %+v", got)
			}
			enqueue(t, db, tenant, again) // also while it is claimed
			if more := claim(t, db, queue, "me", 9, far); len(more) != 0 {
				t.Errorf("claimed again: %+v", more)
			}
		}},
		{"that are done are gone", func(t *testing.T, queue, tenant string) {
			enqueue(t, db, tenant, store.Job{Queue: queue, ID: "x"})
			j := claim(t, db, queue, "me", 1, short)[0]
			if err := db.Done(ctx, j); err != nil {
				t.Fatal(err)
			}
			if err := db.Done(ctx, j); !errors.Is(err, store.ErrLeaseLost) {
				t.Errorf("done twice: %v", err)
			}
			time.Sleep(2 * short)
			if more := claim(t, db, queue, "me", 1, far); len(more) != 0 {
				t.Errorf("claimed after done: %+v", more)
			}
		}},
		{"are handed over when the lease runs out, and the first owner is fenced off", func(t *testing.T, queue, tenant string) {
			enqueue(t, db, tenant, store.Job{Queue: queue, ID: "x"})
			first := claim(t, db, queue, "me", 1, short)[0]
			var second store.Job
			eventually(t, "the lease to run out", func() bool {
				got := claim(t, db, queue, "me", 1, far) // even by the same owner
				if len(got) == 1 {
					second = got[0]
				}
				return len(got) == 1
			})
			if second.Attempts != 2 {
				t.Errorf("attempts %d, want 2", second.Attempts)
			}
			for name, err := range map[string]error{
				"done": db.Done(ctx, first), "extend": db.Extend(ctx, first, far),
				"retry": db.Retry(ctx, first, 0, "x"), "bury": db.Bury(ctx, first, "x"),
			} {
				if !errors.Is(err, store.ErrLeaseLost) {
					t.Errorf("%s with a lost lease: %v", name, err)
				}
			}
			if err := db.Done(ctx, second); err != nil {
				t.Error(err)
			}
		}},
		{"keep an extended lease", func(t *testing.T, queue, tenant string) {
			enqueue(t, db, tenant, store.Job{Queue: queue, ID: "x"})
			j := claim(t, db, queue, "me", 1, short)[0]
			if err := db.Extend(ctx, j, far); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * short)
			if more := claim(t, db, queue, "you", 1, far); len(more) != 0 {
				t.Errorf("claimed under a lease: %+v", more)
			}
		}},
		{"wait before they are tried again", func(t *testing.T, queue, tenant string) {
			enqueue(t, db, tenant, store.Job{Queue: queue, ID: "x"}, store.Job{Queue: queue, ID: "y"})
			for _, j := range claim(t, db, queue, "me", 2, far) {
				wait := time.Duration(0)
				if j.ID == "y" {
					wait = far
				}
				if err := db.Retry(ctx, j, wait, "broken\x00 \xff"); err != nil {
					t.Fatal(err)
				}
			}
			got := claim(t, db, queue, "me", 2, far)
			if len(got) != 1 || got[0].ID != "x" || got[0].Attempts != 2 || got[0].LastError != "broken " {
				t.Errorf("claimed %+v", got)
			}
		}},
		{"that are dead stay visible until they are revived", func(t *testing.T, queue, tenant string) {
			enqueue(t, db, tenant, store.Job{Queue: queue, ID: "x", Payload: []byte("p")}, store.Job{Queue: queue, ID: "y"})
			for _, j := range claim(t, db, queue, "me", 2, short) {
				if err := db.Bury(ctx, j, "no use"); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(2 * short)
			if got := claim(t, db, queue, "me", 9, far); len(got) != 0 {
				t.Fatalf("claimed the dead: %+v", got)
			}
			dead, err := db.Dead(ctx, tenant, 9)
			if err != nil || len(dead) != 2 || dead[0].LastError != "no use" || time.Since(dead[0].BuriedAt) > time.Minute {
				t.Fatalf("dead: %+v, %v", dead, err)
			}
			if others, err := db.Dead(ctx, newTenant(), 9); err != nil || len(others) != 0 {
				t.Errorf("dead of another tenant: %+v, %v", others, err)
			}
			enqueue(t, db, tenant, store.Job{Queue: queue, ID: "x"}) // its id is still taken
			if err := db.Revive(ctx, newTenant(), queue, "x"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("revived by another tenant: %v", err)
			}
			if err := db.Revive(ctx, tenant, queue, "x"); err != nil {
				t.Fatal(err)
			}
			if err := db.Revive(ctx, tenant, queue, "x"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("revived twice: %v", err)
			}
			got := claim(t, db, queue, "me", 9, far)
			if len(got) != 1 || got[0].ID != "x" || got[0].Attempts != 1 || string(got[0].Payload) != "p" {
				t.Errorf("revived: %+v", got)
			}
			if dead, err := db.Dead(ctx, tenant, 9); err != nil || !slices.Equal(ids(dead), []string{"y"}) {
				t.Errorf("left dead: %v, %v", ids(dead), err)
			}
		}},
		{"can be cancelled", func(t *testing.T, queue, tenant string) {
			enqueue(t, db, tenant, store.Job{Queue: queue, ID: "waiting"}, store.Job{Queue: queue, ID: "claimed"}, store.Job{Queue: queue, ID: "kept"})
			got := claim(t, db, queue, "me", 3, far)
			for _, id := range []string{"waiting", "claimed"} {
				update(t, db, tenant, func(tx store.Tx) error { return store.Cancel(tx, queue, id) })
			}
			for _, j := range got {
				err := db.Done(ctx, j)
				if lost := errors.Is(err, store.ErrLeaseLost); lost != (j.ID != "kept") {
					t.Errorf("done %s: %v", j.ID, err)
				}
			}
		}},
		{"are claimed by one of many", func(t *testing.T, queue, tenant string) {
			const n = 200
			var jobs []store.Job
			for i := range n {
				jobs = append(jobs, store.Job{Queue: queue, ID: fmt.Sprint(i)})
			}
			enqueue(t, db, tenant, jobs...)
			var mu sync.Mutex
			owners := map[string]string{}
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					owner := fmt.Sprint("owner", w)
					for {
						got, err := db.Claim(ctx, queue, owner, 7, far)
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						for _, j := range got {
							if was, ok := owners[j.ID]; ok {
								t.Errorf("job %s went to %s and to %s", j.ID, was, owner)
							}
							owners[j.ID] = owner
						}
						done := len(got) == 0 && len(owners) == n
						mu.Unlock()
						if done {
							return
						}
						for _, j := range got {
							if err := db.Done(ctx, j); err != nil {
								t.Error(err)
							}
						}
						if len(got) == 0 {
							time.Sleep(time.Millisecond)
						}
					}
				})
			}
			wg.Wait()
			if left, err := db.Waiting(ctx, queue, 9); err != nil || len(left) != 0 {
				t.Errorf("left: %v, %v", ids(left), err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tenant := newTenant()
			c.test(t, "queue-"+tenant, tenant)
		})
	}
}
