// Package effects carries out what a transaction has asked for but cannot do itself: send a command, a
// notification, a mail, call a webhook, fire a timer.
//
// A job is enqueued in the transaction that makes it necessary (store.Enqueue) and claimed here under a
// lease, by whichever process is free. Handlers run at least once: after a crash, or when a lease ran out
// under a stuck handler, the job runs again elsewhere, so a handler passes the job's id on as an idempotency
// key. A lease is renewed while its handler runs; when a process dies, another takes over within Lease plus
// Poll, 8.5 s by default.
//
//	enqueue -> waiting -> claimed -> done
//	              ^          |
//	              +- backoff-+- attempts used up, or Permanent -> dead, until someone revives it
//
// A job that fails waits exponentially longer each time, with jitter; one that keeps failing ends on the
// dead list of its tenant, visible and revivable. That includes a job that kills its process: the claim
// itself counts as an attempt.
package effects

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
)

// Handler does one job. A nil error means done. ctx ends when the runner stops, when Timeout is over or
// when the lease was lost; a handler that returns an error because of that is tried again.
type Handler func(ctx context.Context, j store.Job) error

// Options configures a Runner. Jobs, Owner and Handlers are required.
type Options struct {
	Jobs     store.Jobs
	Owner    string             // names this process, unique among those that share the store, new at every start
	Handlers map[string]Handler // by queue

	// Steady tells whether the clock may be believed; while it may not, nothing is claimed. nil: it may.
	Steady func() bool

	Workers     int           // jobs of one queue at a time; 0 means 8
	Lease       time.Duration // 0 means 8s
	Poll        time.Duration // how often an idle queue is looked at; 0 means 500ms. Wake shortens the wait
	Timeout     time.Duration // longest run of a handler; 0 means 1m
	MaxAttempts int           // claims before a job is dead; 0 means 12: about half an hour with the waits below
	MinWait     time.Duration // before the second attempt, doubled for each one after; 0 means 1s
	MaxWait     time.Duration // 0 means 10m
	Logger      *slog.Logger  // nil discards
}

// Runner claims jobs and runs their handlers.
type Runner struct {
	opts Options
	wake map[string]chan struct{}
}

// permanent marks an error that no further attempt can cure.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// Permanent wraps err so that the job goes to the dead list at once. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// New checks the options and starts nothing.
func New(opts Options) (*Runner, error) {
	if opts.Jobs == nil || opts.Owner == "" || len(opts.Handlers) == 0 {
		return nil, errors.New("effects: Jobs, Owner and Handlers are required")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&opts.Lease, 8*time.Second)
	def(&opts.Poll, 500*time.Millisecond)
	def(&opts.Timeout, time.Minute)
	def(&opts.MinWait, time.Second)
	def(&opts.MaxWait, 10*time.Minute)
	if opts.Workers == 0 {
		opts.Workers = 8
	}
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = 12
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Runner{opts: opts, wake: map[string]chan struct{}{}}
	for q := range opts.Handlers {
		r.wake[q] = make(chan struct{}, 1)
	}
	return r, nil
}

// Wake has the queue looked at now, such as right after a commit that enqueued. It never blocks, and does
// nothing for a queue without a handler.
func (r *Runner) Wake(queue string) {
	select {
	case r.wake[queue] <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, waits for the handlers, gives unfinished jobs back, and returns nil.
func (r *Runner) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for queue, handler := range r.opts.Handlers {
		wg.Go(func() { r.queue(ctx, queue, handler) })
	}
	wg.Wait()
	return nil
}

func (r *Runner) queue(ctx context.Context, queue string, handler Handler) {
	free := make(chan struct{}, r.opts.Workers)
	for range r.opts.Workers {
		free <- struct{}{}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	failing := false
	for {
		slots := 0
		select { // at least one free worker, then as many as there are
		case <-free:
			slots++
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case <-free:
				slots++
			default:
				more = false
			}
		}
		var jobs []store.Job
		var err error
		if r.opts.Steady == nil || r.opts.Steady() {
			jobs, err = r.opts.Jobs.Claim(ctx, queue, r.opts.Owner, slots, r.opts.Lease)
		}
		if ctx.Err() != nil && err != nil {
			return
		}
		if (err != nil) != failing {
			failing = err != nil
			r.opts.Logger.Warn("effects claim", "queue", queue, "failing", failing, "error", err)
		}
		for _, j := range jobs {
			wg.Go(func() {
				r.run(ctx, handler, j)
				free <- struct{}{}
			})
		}
		for range slots - len(jobs) {
			free <- struct{}{}
		}
		if len(jobs) == slots {
			continue // there may be more
		}
		select {
		case <-r.wake[queue]:
		case <-time.After(r.opts.Poll):
		case <-ctx.Done():
			return
		}
	}
}

// run does one claimed job and settles it.
func (r *Runner) run(ctx context.Context, handler Handler, j store.Job) {
	log := r.opts.Logger.With("queue", j.Queue, "job", j.ID, "tenant", j.Tenant, "attempt", j.Attempts)
	// Settling must also work while the process stops, or the job would wait for its lease.
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.opts.Timeout+r.opts.Lease)
	defer cancel()

	var err error
	switch {
	case j.Attempts > r.opts.MaxAttempts:
		// Earlier claims ended with neither success nor failure: the job takes its process down.
		err = Permanent(fmt.Errorf("given up: %d attempts did not come back", j.Attempts-1))
	default:
		err = r.handle(ctx, handler, j)
	}

	var perm permanent
	switch {
	case err == nil:
		err = r.opts.Jobs.Done(settle, j)
	case ctx.Err() != nil:
		// The runner stops, and that may be all that went wrong: hand over at once.
		err = r.opts.Jobs.Retry(settle, j, 0, err.Error())
	case errors.As(err, &perm), j.Attempts >= r.opts.MaxAttempts:
		log.Error("effect is dead", "error", err)
		err = r.opts.Jobs.Bury(settle, j, err.Error())
	default:
		log.Warn("effect failed", "error", err)
		err = r.opts.Jobs.Retry(settle, j, r.wait(j.Attempts), err.Error())
	}
	if err != nil {
		// A lost lease is another's job now; anything else is settled when the lease runs out.
		log.Warn("effect not settled", "error", err)
	}
}

// handle runs the handler under its timeout while the lease is renewed. It turns a panic into an error.
func (r *Runner) handle(ctx context.Context, handler Handler, j store.Job) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		tick := time.NewTicker(r.opts.Lease / 3)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			err := r.opts.Jobs.Extend(ctx, j, r.opts.Lease)
			if errors.Is(err, store.ErrLeaseLost) {
				cancel()
				return
			}
		}
	})
	defer func() {
		if p := recover(); p != nil {
			r.opts.Logger.Error("effect handler panicked", "queue", j.Queue, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("handler panicked: %v", p)
		}
	}()
	return handler(ctx, j)
}

// wait is the pause after the given attempt: exponential, bounded, the upper half of it random.
func (r *Runner) wait(attempt int) time.Duration {
	d := r.opts.MaxWait
	if shift := attempt - 1; shift < 32 && r.opts.MinWait<<shift > 0 {
		d = min(d, r.opts.MinWait<<shift)
	}
	return d/2 + rand.N(d/2+1)
}
