// Package diagnose runs a diagnosis that a command asks for and records what it found.
package diagnose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// hub is what a diagnosis needs of the device.
type hub interface {
	Diagnose(ctx context.Context, req protocol.DiagnosisRequest, step func(protocol.Step)) (protocol.Diagnosis, error)
}

// Options configures a Runner. Hub and Log are required.
type Options struct {
	Hub     hub
	Log     agent.Log
	Timeout time.Duration // of one diagnosis; 0 means 90s
}

// Runner runs diagnoses. It is safe for concurrent use.
type Runner struct{ opts Options }

// New checks the options.
func New(opts Options) (*Runner, error) {
	if opts.Hub == nil || opts.Log == nil {
		return nil, errors.New("diagnose: Hub and Log are required")
	}
	if opts.Timeout == 0 {
		opts.Timeout = 90 * time.Second
	}
	return &Runner{opts}, nil
}

// Run does what the command asks and records the result, with the command's causes as its own. A diagnosis
// that breaks off is recorded too, with the steps it made and an unknown verdict.
func (r *Runner) Run(ctx context.Context, c *agent.Command) error {
	req, err := c.Diagnosis(&c.Allowed)
	if err != nil {
		return err // the gate has checked it
	}
	within, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	var steps []protocol.Step
	d, err := r.opts.Hub.Diagnose(within, req, func(s protocol.Step) {
		if len(steps) < protocol.MaxSteps {
			steps = append(steps, s)
		}
	})
	if err != nil {
		d = protocol.Diagnosis{Request: req, Steps: steps, Verdict: protocol.Verdict{
			Segment: protocol.SegmentUnknown, Code: "diagnosis.failed", Args: map[string]string{"reason": clip(err.Error())},
		}}
	}
	_, err = r.opts.Log.Event(context.WithoutCancel(ctx), &protocol.Event{
		Kind: protocol.EventDiagnosis, Because: c.Because, Diagnosis: &d,
		Args: map[string]string{"command": c.ID, "plan": c.Allowed.ID, "kind": req.Kind},
	})
	if err != nil {
		return fmt.Errorf("record diagnosis: %w", err)
	}
	return nil
}

func clip(s string) string { return s[:min(len(s), 500)] }
