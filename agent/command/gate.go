// Package command decides whether a command from the cloud may have any effect.
//
// Two signatures are needed: the cloud's, which selects a plan for this device, and that of a key which the
// cloud never holds, which allows the plan at all. The counter of a command is on disk before the command is
// let through, so that none is obeyed twice, not even after a power cut.
//
// Whether it has expired is judged by the time that the cloud told (see agent.Clock), where that is known, and
// by the newest issue time that was seen: the device's own clock may be wrong by years, either way.
package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// Refusal is why a command has no effect. Field names what is wrong with it.
type Refusal struct {
	ID     string // of the command; empty when not even its signature held
	Field  string // "signature", "tenant", "device", "counter", "expires_at", "plan", "plan.signature", ...
	Reason string
}

func (r *Refusal) Error() string { return fmt.Sprintf("command refused: %s: %s", r.Field, r.Reason) }

// ErrRepeated is returned for a command that was let through before: the cloud repeats one until it hears
// of it. It is no refusal.
var ErrRepeated = errors.New("command was taken before")

// Options configures a Gate. All are required.
type Options struct {
	Identity func() *agent.Identity // the present one; whom to trust may change with a renewal
	Clock    *agent.Clock
	Path     string // a small file that holds the counter
}

// Gate lets commands through. It is safe for concurrent use.
type Gate struct {
	opts  Options
	mu    sync.Mutex
	state state
}

// state is on disk before a command is let through.
type state struct {
	Counter  uint64   `json:"counter"`   // of the newest command
	IssuedAt int64    `json:"issued_at"` // of the newest command, seconds since 1970: it cannot be earlier now
	Recent   []string `json:"recent"`    // ids of the last commands
}

const recent = 32

// New reads the counter. A file that cannot be read is an error: with the counter lost, old commands could
// be obeyed again.
func New(opts Options) (*Gate, error) {
	if opts.Identity == nil || opts.Clock == nil || opts.Path == "" {
		return nil, errors.New("command gate: Identity, Clock and Path are required")
	}
	g := &Gate{opts: opts}
	b, err := os.ReadFile(opts.Path)
	if errors.Is(err, os.ErrNotExist) {
		return g, nil
	}
	if err != nil {
		return nil, fmt.Errorf("command counter: %w", err)
	}
	if err := json.Unmarshal(b, &g.state); err != nil {
		return nil, fmt.Errorf("command counter %s: %w", opts.Path, err)
	}
	return g, nil
}

// Check verifies a signed command and takes it. The error is a *Refusal, ErrRepeated, or one of the disk.
func (g *Gate) Check(signed []byte) (agent.Command, error) {
	var c agent.Command
	id := g.opts.Identity()
	payload, err := protocol.Verify(protocol.PurposeCommand, signed, id.CommandKeys)
	if err != nil {
		return c, &Refusal{Field: "signature", Reason: err.Error()}
	}
	if err := protocol.Unmarshal(payload, &c.Command); err != nil {
		r := &Refusal{Field: "command", Reason: err.Error()}
		if protocol.CheckID("command", c.ID) == nil {
			r.ID = c.ID // it was read, and signed by the cloud
		}
		return c, r
	}
	refuse := func(field, format string, args ...any) (agent.Command, error) {
		return agent.Command{}, &Refusal{ID: c.ID, Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case c.Tenant != id.Tenant:
		return refuse("tenant", "it is for another tenant")
	case c.Device != id.Device:
		return refuse("device", "it is for another device")
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.Contains(g.state.Recent, c.ID) {
		return agent.Command{}, ErrRepeated
	}
	if c.Counter <= g.state.Counter {
		return refuse("counter", "%d does not grow beyond %d", c.Counter, g.state.Counter)
	}
	// The device's clock may be behind, so the latest signed time that it has seen counts too. A command from
	// its future therefore sets the clock of this gate rather than being refused.
	now := max(g.opts.Clock.Now(id).Unix(), g.state.IssuedAt)
	if now >= c.ExpiresAt {
		return refuse("expires_at", "it expired %s ago by the device's clock", time.Duration(now-c.ExpiresAt)*time.Second)
	}
	plan, err := protocol.Verify(protocol.PurposePlan, c.Plan, id.PlanKeys)
	if err != nil {
		return refuse("plan.signature", "%v", err)
	}
	if err := protocol.Unmarshal(plan, &c.Allowed); err != nil {
		return refuse("plan", "%v", err)
	}
	p := &c.Allowed
	switch {
	case p.Tenant != id.Tenant:
		return refuse("plan.tenant", "plan %s is for another tenant", p.ID)
	case now > p.NotAfter:
		return refuse("plan.not_after", "plan %s is no longer valid", p.ID)
	}
	switch p.Verb {
	case protocol.VerbFix:
		_, err = c.Action(p)
	case protocol.VerbDiagnose:
		_, err = c.Diagnosis(p)
	case protocol.VerbAssist:
		if c.Assist == nil {
			return refuse("assist", "plan %s opens a session, but the command names none", p.ID)
		}
	}
	if err != nil {
		return refuse("choice", "%v", err)
	}
	next := state{Counter: c.Counter, IssuedAt: max(g.state.IssuedAt, c.IssuedAt), Recent: append(slices.Clone(g.state.Recent), c.ID)}
	if n := len(next.Recent); n > recent {
		next.Recent = next.Recent[n-recent:]
	}
	b, err := json.Marshal(next)
	if err != nil {
		return agent.Command{}, err
	}
	if err := agent.WriteFile(g.opts.Path, b); err != nil {
		return agent.Command{}, fmt.Errorf("command counter: %w", err)
	}
	g.state = next
	return c, nil
}
