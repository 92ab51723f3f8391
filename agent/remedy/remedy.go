// Package remedy changes the device and answers for it: snapshot, intent on disk, apply, check until a
// deadline, then keep or roll back.
//
//	undo := Undo(action)       what restores the present state exactly
//	note  intent               on disk before anything is touched
//	Apply(action)              fix.applied, in one commit with the intent's next phase
//	Check ... until WithinS    all checks of the plan, by fresh measurements, three times in a row
//	keep                       fix.verified, in one commit with the removal of the intent
//	or Apply(undo)             fix.rolled_back, likewise
//
// Whatever happens in the middle, a power cut included, the device ends in one of the two states: Recover
// rolls an unfinished intent back at the next start. A plan that could cut the uplink (Confirm) is kept only
// once the cloud has acknowledged fix.applied through the changed network.
package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// hub is what a remedy needs of the device.
type hub interface {
	Undo(ctx context.Context, a protocol.Action) (protocol.Action, error)
	Apply(ctx context.Context, a protocol.Action) error
	Check(ctx context.Context, c protocol.Check) (bool, error)
}

// Options configures a Remedy. Hub and Journal are required.
type Options struct {
	Hub     hub
	Journal agent.Journal
	Every   time.Duration // between two rounds of checks; 0 means 1s
	Rounds  int           // in a row in which all checks must hold; 0 means 3: on a line that loses a third of its packets, one good round is luck
	Log     *slog.Logger  // nil means discard
}

// Remedy runs one fix at a time. It is safe for concurrent use: others wait.
type Remedy struct {
	opts Options
	mu   sync.Mutex
}

// New checks the options. Call Recover before the first Fix.
func New(opts Options) (*Remedy, error) {
	if opts.Hub == nil || opts.Journal == nil {
		return nil, errors.New("remedy: Hub and Journal are required")
	}
	if opts.Every == 0 {
		opts.Every = time.Second
	}
	if opts.Rounds == 0 {
		opts.Rounds = 3
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Remedy{opts: opts}, nil
}

const noteIntent = "intent"

// intent is the note that outlives a power cut in the middle of a fix.
type intent struct {
	Command string             `json:"command"`
	Plan    string             `json:"plan"`
	Action  protocol.Action    `json:"action"`
	Undo    protocol.Action    `json:"undo"`
	Because []protocol.EntryID `json:"because"`
	Applied protocol.EntryID   `json:"applied,omitempty"` // the fix.applied event, once there is one
	Stuck   bool               `json:"stuck,omitempty"`   // undo failed and fix.failed was recorded
}

func (in *intent) encode() []byte {
	b, err := json.Marshal(in)
	if err != nil {
		panic(err) // texts only
	}
	return b
}

// because is the cause of what follows: that the fix was applied, else why it was wanted.
func (in *intent) because() []protocol.EntryID {
	if in.Applied != "" {
		return []protocol.EntryID{in.Applied}
	}
	return in.Because
}

func (in *intent) event(kind protocol.EventKind, args map[string]string) *protocol.Event {
	all := map[string]string{"command": in.Command, "plan": in.Plan, "action": in.Action.Kind}
	if in.Action.Target != "" {
		all["target"] = in.Action.Target
	}
	maps.Copy(all, args)
	return &protocol.Event{Kind: kind, Because: in.because(), Args: all}
}

// Recover rolls back what a stop or a power cut left unfinished. It returns an error if the former state
// could not be restored; the intent stays and the next start tries again.
func (r *Remedy) Recover(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	b, err := r.opts.Journal.Note(noteIntent)
	if err != nil || b == nil {
		return err
	}
	var in intent
	if err := json.Unmarshal(b, &in); err != nil {
		return errors.Join(fmt.Errorf("unfinished intent: %w", err), r.opts.Journal.SetNote(noteIntent, nil))
	}
	r.opts.Log.Warn("rolling back an unfinished fix", "command", in.Command, "action", in.Action.Kind)
	return r.rollBack(ctx, &in, map[string]string{"reason": "restart"})
}

// Fix does what the command asks. What came of it is recorded as events; the error is for the log only.
func (r *Remedy) Fix(ctx context.Context, c *agent.Command) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	action, err := c.Action(&c.Allowed)
	if err != nil {
		return err // the gate has checked it
	}
	in := &intent{Command: c.ID, Plan: c.Allowed.ID, Action: action, Because: c.Because}
	if b, err := r.opts.Journal.Note(noteIntent); err != nil || b != nil {
		return r.fail(ctx, in, errors.Join(err, errUnfinished), false)
	}
	if in.Undo, err = r.opts.Hub.Undo(ctx, action); err != nil {
		return r.fail(ctx, in, err, false)
	}
	if err := r.opts.Journal.SetNote(noteIntent, in.encode()); err != nil {
		return r.fail(ctx, in, err, false)
	}
	deadline := time.Now().Add(time.Duration(c.Allowed.WithinS) * time.Second)
	if err := r.opts.Hub.Apply(ctx, action); err != nil {
		return r.rollBack(ctx, in, map[string]string{"reason": "not_applied", "error": clip(err.Error())})
	}
	_, err = r.opts.Journal.EventNote(context.WithoutCancel(ctx), in.event(protocol.EventFixApplied, before(action, in.Undo)), noteIntent,
		func(id protocol.EntryID) []byte { in.Applied = id; return in.encode() })
	if err != nil {
		in.Applied = "" // its id was never committed
		return r.rollBack(ctx, in, map[string]string{"reason": "not_recorded", "error": clip(err.Error())})
	}
	within, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if args := r.prove(within, &c.Allowed, in.Applied); args != nil {
		if ctx.Err() != nil {
			args = map[string]string{"reason": "stopped"}
		}
		return r.rollBack(ctx, in, args)
	}
	_, err = r.opts.Journal.EventNote(context.WithoutCancel(ctx), in.event(protocol.EventFixVerified, nil), noteIntent, forget)
	return err
}

var errUnfinished = errors.New("an earlier fix could not be undone")

func forget(protocol.EntryID) []byte { return nil }

// prove waits until all checks held for some rounds in a row, and for the confirmation if the plan wants one. It returns nil when the
// change may stay, else why not.
func (r *Remedy) prove(ctx context.Context, p *protocol.Plan, applied protocol.EntryID) map[string]string {
	within := time.Duration(p.WithinS) * time.Second
	tick := time.NewTicker(min(r.opts.Every, within/time.Duration(2*r.opts.Rounds))) // a short deadline has room for the rounds too
	defer tick.Stop()
	failed := map[string]string{"reason": "deadline"} // until a check fails: there was too little time for all rounds
	for held := 0; held < r.opts.Rounds; {
		if now := r.failing(ctx, p.Checks); now != nil {
			failed, held = now, 0
		} else if held++; held == r.opts.Rounds {
			break
		}
		select {
		case <-ctx.Done():
			return failed
		case <-tick.C:
		}
	}
	if p.Confirm && r.opts.Journal.WaitAcked(ctx, applied) != nil {
		return map[string]string{"reason": "unconfirmed"}
	}
	return nil
}

// failing returns the first check that does not hold, or nil when all do.
func (r *Remedy) failing(ctx context.Context, checks []protocol.Check) map[string]string {
	for _, c := range checks {
		ok, err := r.opts.Hub.Check(ctx, c)
		if ok && err == nil {
			continue
		}
		args := map[string]string{"reason": "check", "metric": c.Metric}
		if c.Instance != "" {
			args["instance"] = c.Instance
		}
		if err != nil {
			args["error"] = clip(err.Error())
		}
		return args
	}
	return nil
}

// rollBack restores the former state, also while the agent is stopping.
func (r *Remedy) rollBack(ctx context.Context, in *intent, args map[string]string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	var err error
	for try := range 3 {
		if try > 0 {
			time.Sleep(r.opts.Every)
		}
		if err = r.opts.Hub.Apply(ctx, in.Undo); err == nil {
			break
		}
	}
	if err != nil {
		return r.fail(ctx, in, fmt.Errorf("undo: %w", err), true)
	}
	kind := protocol.EventFixRolledBack
	if in.Applied == "" && args["reason"] != "restart" {
		kind = protocol.EventFixFailed // it never was in effect
	}
	_, err = r.opts.Journal.EventNote(ctx, in.event(kind, args), noteIntent, forget)
	return err
}

// fail records that nothing was changed, or, when stuck, that the former state could not be restored; then
// the intent stays for the next start.
func (r *Remedy) fail(ctx context.Context, in *intent, cause error, stuck bool) error {
	if stuck && in.Stuck {
		return cause // said before
	}
	e := in.event(protocol.EventFixFailed, map[string]string{"reason": clip(cause.Error())})
	ctx = context.WithoutCancel(ctx)
	var err error
	if stuck {
		in.Stuck = true
		_, err = r.opts.Journal.EventNote(ctx, e, noteIntent, func(protocol.EntryID) []byte { return in.encode() })
	} else {
		_, err = r.opts.Journal.Event(ctx, e)
	}
	return errors.Join(cause, err)
}

// before tells what the action replaced, from what its undo would put back.
func before(action, undo protocol.Action) map[string]string {
	args := map[string]string{}
	for k, v := range action.Args {
		args[k] = v
	}
	if undo.Kind == action.Kind {
		for k, v := range undo.Args {
			if len(args) < protocol.MaxArgs-8 {
				args["before_"+k] = v
			}
		}
	}
	for k := range args {
		if len(k) > protocol.MaxID {
			delete(args, k)
		}
	}
	return args
}

func clip(s string) string { return s[:min(len(s), 500)] }
