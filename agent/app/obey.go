package app

import (
	"context"
	"errors"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/command"
	"github.com/hearthline/hearthline/protocol"
)

// obey takes a signed command from the uplink. Commands are checked here, in the order of arrival, since
// their counters must grow; what they ask for is done elsewhere.
func (a *Agent) obey(signed []byte) {
	c, err := a.gate.Check(signed)
	var refusal *command.Refusal
	switch {
	case errors.As(err, &refusal):
		a.jobs.Go(func() { a.refuse(refusal, nil) })
		return
	case errors.Is(err, command.ErrRepeated):
		return
	case err != nil:
		a.log.Error("command not taken", "error", err)
		return
	}
	slot := a.slots[c.Allowed.Verb]
	select {
	case slot <- struct{}{}:
	default:
		a.jobs.Go(func() {
			a.refuse(&command.Refusal{ID: c.ID, Field: "verb", Reason: "too many commands at once"}, c.Because)
		})
		return
	}
	a.jobs.Go(func() {
		defer func() { <-slot }()
		a.log.Info("command taken", "command", c.ID, "plan", c.Allowed.ID)
		if err := a.do(a.ctx, &c); err != nil {
			a.log.Warn("command came to nothing", "command", c.ID, "plan", c.Allowed.ID, "error", err)
		}
	})
}

func (a *Agent) do(ctx context.Context, c *agent.Command) error {
	switch c.Allowed.Verb {
	case protocol.VerbFix:
		return a.remedy.Fix(ctx, c)
	case protocol.VerbDiagnose:
		return a.look.Run(ctx, c)
	}
	err := a.session.Run(ctx, c)
	if err != nil {
		a.refuse(&command.Refusal{ID: c.ID, Field: "assist", Reason: err.Error()}, c.Because)
	}
	return err
}

// refuse records why a command had no effect. Those without a valid signature say nothing about the cloud
// and could come from anyone: they are recorded once a minute at most.
func (a *Agent) refuse(r *command.Refusal, because []protocol.EntryID) {
	a.log.Warn("command refused", "field", r.Field, "reason", r.Reason)
	args := map[string]string{"field": r.Field, "reason": clip(r.Reason)}
	if r.ID != "" {
		args["command"] = r.ID
	}
	if r.Field == "signature" && !a.mayRecord() {
		return
	}
	if _, err := a.outbox.Event(context.WithoutCancel(a.ctx), &protocol.Event{Kind: protocol.EventCommand, Because: because, Args: args}); err != nil {
		a.log.Error("event lost", "kind", string(protocol.EventCommand), "error", err)
	}
}

func (a *Agent) mayRecord() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.refused.IsZero() && time.Since(a.refused) < time.Minute {
		return false
	}
	a.refused = time.Now()
	return true
}
