package effects_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/cloud/effects"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
)

func open(t *testing.T) *bolt.DB {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func enqueue(t *testing.T, db store.DB, ids ...string) {
	t.Helper()
	err := db.Update(t.Context(), "acme", func(tx store.Tx) error {
		for _, id := range ids {
			if err := store.Enqueue(tx, store.Job{Queue: "mail", ID: id}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a runner until the returned function is called, which waits for it.
func start(t *testing.T, db store.Jobs, owner string, h effects.Handler) (stop func()) {
	t.Helper()
	_, stop = run(t, effects.Options{Jobs: db, Owner: owner}, h)
	return stop
}

// run is start with options, to which it adds the handler.
func run(t *testing.T, opts effects.Options, h effects.Handler) (r *effects.Runner, stop func()) {
	t.Helper()
	opts.Handlers = map[string]effects.Handler{"mail": h}
	r, err := effects.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	return r, func() { cancel(); wg.Wait() }
}

func dead(t *testing.T, db store.DB) []store.Job {
	t.Helper()
	jobs, err := db.Dead(t.Context(), "acme", 10)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func waiting(t *testing.T, db store.DB) []store.Job {
	t.Helper()
	jobs, err := db.Waiting(t.Context(), "mail", 10)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func TestEveryJobIsDoneAndThenGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		var ids []string
		for i := range 100 {
			ids = append(ids, fmt.Sprint(i))
		}
		enqueue(t, db, ids...)
		var ran sync.Map
		stop := start(t, db, "one", func(_ context.Context, j store.Job) error {
			if _, again := ran.LoadOrStore(j.ID, true); again {
				t.Errorf("job %s ran twice without need", j.ID)
			}
			return nil
		})
		time.Sleep(time.Second)
		stop()
		for _, id := range ids {
			if _, ok := ran.Load(id); !ok {
				t.Errorf("job %s did not run", id)
			}
		}
		if left := waiting(t, db); len(left) != 0 {
			t.Errorf("%d jobs left", len(left))
		}
	})
}

func TestAPoisonJobBacksOffAndEndsOnTheDeadList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		enqueue(t, db, "poison", "good")
		var runs []time.Time
		var good atomic.Int32
		stop := start(t, db, "one", func(_ context.Context, j store.Job) error {
			if j.ID == "good" {
				good.Add(1)
				return nil
			}
			runs = append(runs, time.Now())
			if len(runs)%2 == 0 {
				panic("bad stamp")
			}
			return errors.New("bad address")
		})
		time.Sleep(6 * time.Hour)
		if len(runs) != 12 {
			t.Fatalf("%d runs, want 12", len(runs))
		}
		for i := 1; i < len(runs); i++ {
			wait := runs[i].Sub(runs[i-1])
			most := min(time.Second<<(i-1), 10*time.Minute)
			if wait < most/2 || wait > most+time.Second {
				t.Errorf("wait %d was %v, want %v to %v and at most a poll more", i, wait, most/2, most)
			}
		}
		if good.Load() != 1 {
			t.Errorf("the good job ran %d times", good.Load())
		}
		d := dead(t, db)
		if len(d) != 1 || d[0].ID != "poison" || d[0].Attempts != 12 || d[0].LastError != "handler panicked: bad stamp" {
			t.Fatalf("dead list: %+v", d)
		}
		if err := db.Revive(t.Context(), "acme", "mail", "poison"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if len(runs) != 13 {
			t.Errorf("a revived job ran %d times more, want once", len(runs)-12)
		}
		stop()
	})
}

func TestAPermanentErrorIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		enqueue(t, db, "a")
		runs := 0
		stop := start(t, db, "one", func(context.Context, store.Job) error {
			runs++
			return fmt.Errorf("send: %w", effects.Permanent(errors.New("no such address")))
		})
		time.Sleep(time.Hour)
		stop()
		if d := dead(t, db); runs != 1 || len(d) != 1 {
			t.Errorf("%d runs and %d dead, want 1 and 1", runs, len(d))
		}
	})
}

// crashed is a store whose process has died: it claims, but never extends or settles.
type crashed struct{ store.Jobs }

func (crashed) Extend(context.Context, store.Job, time.Duration) error { return errors.New("dead") }
func (crashed) Done(context.Context, store.Job) error                  { return errors.New("dead") }

func TestAnotherInstanceTakesOverWithinTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		enqueue(t, db, "a")
		begun := time.Now()
		stopDying := start(t, crashed{db}, "dying", func(ctx context.Context, j store.Job) error { return nil })
		time.Sleep(100 * time.Millisecond)
		stopDying()
		var took time.Duration
		stop := start(t, db, "heir", func(context.Context, store.Job) error {
			took = time.Since(begun)
			return nil
		})
		time.Sleep(time.Minute)
		stop()
		if took == 0 || took > 10*time.Second {
			t.Errorf("taken over after %v", took)
		}
	})
}

func TestALongHandlerKeepsItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		enqueue(t, db, "a")
		var runs atomic.Int32
		h := func(context.Context, store.Job) error {
			runs.Add(1)
			time.Sleep(50 * time.Second)
			return nil
		}
		stop1, stop2 := start(t, db, "one", h), start(t, db, "two", h)
		time.Sleep(time.Minute)
		stop1()
		stop2()
		if runs.Load() != 1 || len(waiting(t, db)) != 0 {
			t.Errorf("%d runs, %d left", runs.Load(), len(waiting(t, db)))
		}
	})
}

func TestStoppingHandsUnfinishedJobsOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		enqueue(t, db, "a")
		stop := start(t, db, "one", func(ctx context.Context, _ store.Job) error {
			<-ctx.Done()
			return ctx.Err()
		})
		time.Sleep(time.Second)
		stop()
		jobs, err := db.Claim(t.Context(), "mail", "two", 1, time.Second)
		if err != nil || len(jobs) != 1 {
			t.Errorf("claimed %v, %v", jobs, err)
		}
	})
}

func TestAJobThatKillsItsProcessIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		enqueue(t, db, "a")
		for range 12 { // claimed, never settled
			if jobs, err := db.Claim(t.Context(), "mail", "victim", 1, time.Second); err != nil || len(jobs) != 1 {
				t.Fatalf("claimed %v, %v", jobs, err)
			}
			time.Sleep(2 * time.Second)
		}
		stop := start(t, db, "one", func(context.Context, store.Job) error {
			t.Error("ran once more")
			return nil
		})
		time.Sleep(time.Minute)
		stop()
		if d := dead(t, db); len(d) != 1 {
			t.Errorf("dead list: %+v", d)
		}
	})
}

func TestWakeDoesNotWaitForThePoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		done := make(chan time.Time, 1)
		r, stop := run(t, effects.Options{Jobs: db, Owner: "one", Poll: time.Hour}, func(context.Context, store.Job) error {
			done <- time.Now()
			return nil
		})
		time.Sleep(time.Minute)
		begun := time.Now()
		enqueue(t, db, "a")
		r.Wake("mail")
		if took := (<-done).Sub(begun); took > time.Second {
			t.Errorf("took %v", took)
		}
		stop()
	})
}

func TestNothingIsDoneByAClockThatIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := open(t)
		var steady atomic.Bool
		done := make(chan time.Time, 1)
		r, stop := run(t, effects.Options{Jobs: db, Owner: "one", Steady: steady.Load}, func(context.Context, store.Job) error {
			done <- time.Now()
			return nil
		})
		enqueue(t, db, "a")
		r.Wake("mail")
		time.Sleep(time.Minute)
		right := time.Now()
		steady.Store(true)
		if at := <-done; at.Before(right) {
			t.Errorf("done %s before the clock was right", right.Sub(at))
		}
		stop()
	})
}
