package replay

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/hearthline/hearthline/protocol"
)

// Script says what a trace cannot: what the device is, what can be done to it, and what that changes.
// It is kept as JSON beside the trace; unknown keys are refused.
type Script struct {
	Model    string    `json:"model"`
	Firmware string    `json:"firmware,omitempty"`
	Hardware string    `json:"hardware,omitempty"`
	Actions  []Offer   `json:"actions,omitempty"`
	Calm     Span      `json:"calm,omitzero"` // a stretch of the trace in which all is well; what is cured plays it
	Troubles []Trouble `json:"troubles,omitempty"`
}

// Span is a stretch of the trace in milliseconds since its first row, the end excluded.
type Span struct {
	From int64 `json:"from_ms"`
	To   int64 `json:"to_ms"`
}

// Offer is an action that the device can do, with the values allowed for its target and arguments.
type Offer struct {
	Kind    string              `json:"kind"`
	Targets []string            `json:"targets,omitempty"`
	Args    map[string][]string `json:"args,omitempty"`
}

// Trouble is a stretch of the trace in which something is wrong, and what would set it right.
type Trouble struct {
	Span
	Metrics []string         `json:"metrics"`            // the columns that show it, each with its instance
	CuredBy *protocol.Action `json:"cured_by,omitempty"` // while this action is applied, these metrics are as in Calm; empty fields match any
}

// ReadScript reads a script and checks it against its trace.
func ReadScript(r io.Reader, t *Trace) (Script, error) {
	var s Script
	in := json.NewDecoder(r)
	in.DisallowUnknownFields()
	if err := in.Decode(&s); err != nil {
		return s, fmt.Errorf("script: %w", err)
	}
	return s, s.check(t)
}

// kinds are the actions that a recorded device may offer: those of the linux driver.
var kinds = []string{"dns.switch", "dhcp.renew", "interface.bounce", "uplink.failover", "service.restart"}

func (s *Script) check(t *Trace) error {
	if s.Model == "" {
		return fmt.Errorf("script: model is empty")
	}
	for i, o := range s.Actions {
		if !slices.Contains(kinds, o.Kind) {
			return fmt.Errorf("script: actions[%d].kind: %q; want one of %v", i, o.Kind, kinds)
		}
	}
	inside := func(name string, p Span) error {
		if p.From < 0 || p.From >= p.To || p.To > t.span() {
			return fmt.Errorf("script: %s: %d to %d ms is no stretch of a trace of %d ms", name, p.From, p.To, t.span())
		}
		return nil
	}
	if s.Calm != (Span{}) {
		if err := inside("calm", s.Calm); err != nil {
			return err
		}
	}
	for i, tr := range s.Troubles {
		name := fmt.Sprintf("troubles[%d]", i)
		if err := inside(name, tr.Span); err != nil {
			return err
		}
		for _, m := range tr.Metrics {
			if !slices.ContainsFunc(t.Metrics, func(has protocol.Metric) bool { return has.String() == m }) {
				return fmt.Errorf("script: %s.metrics: the trace has no column %s", name, m)
			}
		}
		if tr.CuredBy == nil {
			continue
		}
		if s.Calm == (Span{}) {
			return fmt.Errorf("script: %s.cured_by: calm is needed to show it", name)
		}
		if !slices.ContainsFunc(s.Actions, func(o Offer) bool { return o.Kind == tr.CuredBy.Kind }) {
			return fmt.Errorf("script: %s.cured_by: actions do not offer %q", name, tr.CuredBy.Kind)
		}
	}
	return nil
}
