package protocol

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Action is one typed change to a device, from the allow-list of its driver; never shell text.
type Action struct {
	Kind   string            `cbor:"0,keyasint" json:"kind"`                       // "dns.switch", "dhcp.renew", "interface.bounce", "uplink.failover", "service.restart"
	Target string            `cbor:"1,keyasint,omitempty" json:"target,omitempty"` // what it changes: an interface, a service
	Args   map[string]string `cbor:"2,keyasint,omitempty" json:"args,omitempty"`
}

// Check is a condition that a fresh measurement on the device must meet. A nil bound does not bound.
type Check struct {
	Metric   string   `cbor:"0,keyasint" json:"metric"`
	Instance string   `cbor:"1,keyasint,omitempty" json:"instance,omitempty"` // empty: every instance
	Min      *float64 `cbor:"2,keyasint,omitempty" json:"min,omitempty"`
	Max      *float64 `cbor:"3,keyasint,omitempty" json:"max,omitempty"`
}

// Verb is what kind of thing a plan allows.
type Verb string

// A fix changes the device, a diagnosis only looks, assist opens a remote session.
const (
	VerbFix      Verb = "fix"
	VerbDiagnose Verb = "diagnose"
	VerbAssist   Verb = "assist"
)

// Plan is what may be done at all: signed by a key that the cloud never holds. The cloud can only
// select a plan for a device and choose among the values that the plan lists.
type Plan struct {
	Version  uint64              `cbor:"0,keyasint" json:"version"`
	ID       string              `cbor:"1,keyasint" json:"id"`
	Tenant   string              `cbor:"2,keyasint" json:"tenant"`
	Verb     Verb                `cbor:"3,keyasint" json:"verb"`
	Action   Action              `cbor:"4,keyasint" json:"action"`                      // for VerbFix
	Choices  map[string][]string `cbor:"5,keyasint,omitempty" json:"choices,omitempty"` // argument ("target" for Action.Target) -> allowed values; "*" allows any
	Checks   []Check             `cbor:"6,keyasint,omitempty" json:"checks,omitempty"`  // all must hold for the fix to stay
	WithinS  int64               `cbor:"7,keyasint" json:"within_s"`                    // seconds the checks have to come true; 1 to 600
	Confirm  bool                `cbor:"8,keyasint" json:"confirm"`                     // could cut the uplink: rolls back unless the cloud's ack gets through within WithinS
	Armed    bool                `cbor:"9,keyasint" json:"armed"`                       // the hub may run it by itself while it is offline
	Consent  bool                `cbor:"10,keyasint" json:"consent"`                    // only with the customer's consent
	NotAfter int64               `cbor:"11,keyasint" json:"not_after"`                  // seconds since 1970
}

// Command selects a plan for one device. It is valid once, in order, until it expires.
type Command struct {
	Version   uint64            `cbor:"0,keyasint"`
	ID        string            `cbor:"1,keyasint"`
	Tenant    string            `cbor:"2,keyasint"` // audience
	Device    string            `cbor:"3,keyasint"` // audience
	Counter   uint64            `cbor:"4,keyasint"` // grows with every command to this device
	IssuedAt  int64             `cbor:"5,keyasint"` // seconds since 1970
	ExpiresAt int64             `cbor:"6,keyasint"`
	Plan      []byte            `cbor:"7,keyasint"` // COSE_Sign1 of Plan
	Choice    map[string]string `cbor:"8,keyasint,omitempty"`
	Because   []EntryID         `cbor:"9,keyasint,omitempty"`  // why; the entries that follow name these as causes
	Assist    *Assist           `cbor:"10,keyasint,omitempty"` // for VerbAssist
}

// Assist tells a device how to join a remote session.
type Assist struct {
	Session    string      `cbor:"0,keyasint" json:"session"`
	ICEServers []ICEServer `cbor:"1,keyasint,omitempty" json:"ice_servers"`
	Allow      []string    `cbor:"2,keyasint" json:"allow"`   // "diagnose", "metrics"; what was consented to
	EndsAt     int64       `cbor:"3,keyasint" json:"ends_at"` // seconds since 1970; the device ends the session then
}

// ICEServer is one STUN or TURN server, as in RTCIceServer.
type ICEServer struct {
	URLs       []string `cbor:"0,keyasint" json:"urls"`
	Username   string   `cbor:"1,keyasint,omitempty" json:"username,omitempty"`
	Credential string   `cbor:"2,keyasint,omitempty" json:"credential,omitempty"`
}

// Limits of commands and plans.
const (
	MaxCommandLife = 24 * time.Hour   // a command that waited longer answers a question nobody asks any more
	MaxWithin      = 10 * time.Minute // a fix that needs longer to prove itself is not a fix
	MaxChoices     = 16               // values of one argument that a plan may list
	MaxChecks      = 8
)

// Action returns the plan's action with the command's choices filled in. A choice that the plan does
// not list is refused.
func (c *Command) Action(p *Plan) (Action, error) {
	a := Action{Kind: p.Action.Kind, Target: p.Action.Target, Args: map[string]string{}}
	for k, v := range p.Action.Args {
		a.Args[k] = v
	}
	if err := p.allows(c.Choice); err != nil {
		return Action{}, err
	}
	for k, v := range c.Choice {
		if k == "target" {
			a.Target = v
			continue
		}
		a.Args[k] = v
	}
	return a, nil
}

// Diagnosis returns the diagnosis that the command asks for under a plan of VerbDiagnose: the choice
// "kind", an optional "target" and further arguments.
func (c *Command) Diagnosis(p *Plan) (DiagnosisRequest, error) {
	if err := p.allows(c.Choice); err != nil {
		return DiagnosisRequest{}, err
	}
	r := DiagnosisRequest{Kind: c.Choice["kind"], Target: c.Choice["target"], Args: map[string]string{}}
	for k, v := range c.Choice {
		if k != "kind" && k != "target" {
			r.Args[k] = v
		}
	}
	return r, r.check()
}

func (p *Plan) allows(choice map[string]string) error {
	for k, v := range choice {
		allowed := p.Choices[k]
		if !slices.Contains(allowed, v) && !slices.Contains(allowed, "*") {
			return fmt.Errorf("%w: plan %s does not allow %s=%q", ErrInvalid, p.ID, clip(k), clip(v))
		}
	}
	return nil
}

func (p *Plan) check() error {
	if err := checkVersion("plan", p.Version); err != nil {
		return err
	}
	if err := CheckID("plan", p.ID); err != nil {
		return err
	}
	if err := CheckID("tenant", p.Tenant); err != nil {
		return err
	}
	switch p.Verb {
	case VerbFix:
		if err := CheckID("action target", cmp.Or(p.Action.Target, "any")); err != nil {
			return err
		}
		if w := time.Duration(p.WithinS) * time.Second; w < time.Second || w > MaxWithin {
			return fmt.Errorf("%w: plan within_s is %d, want 1 to %d", ErrInvalid, p.WithinS, int(MaxWithin.Seconds()))
		}
		if len(p.Checks) == 0 {
			return fmt.Errorf("%w: plan %s has no checks: a fix that cannot be verified is not a fix", ErrInvalid, p.ID)
		}
	case VerbDiagnose, VerbAssist:
	default:
		return fmt.Errorf("%w: plan verb %q", ErrInvalid, clip(string(p.Verb)))
	}
	if len(p.Checks) > MaxChecks || len(p.Choices) > MaxArgs {
		return fmt.Errorf("%w: plan has %d checks (limit %d) and %d choices (limit %d)", ErrInvalid, len(p.Checks), MaxChecks, len(p.Choices), MaxArgs)
	}
	for k, v := range p.Choices {
		if len(v) > MaxChoices {
			return fmt.Errorf("%w: plan lists %d values for %s, limit %d", ErrInvalid, len(v), clip(k), MaxChoices)
		}
	}
	return checkArgs("plan action", p.Action.Args)
}

func (c *Command) check() error {
	if err := checkVersion("command", c.Version); err != nil {
		return err
	}
	for _, f := range []struct{ field, id string }{{"command", c.ID}, {"tenant", c.Tenant}, {"device", c.Device}} {
		if err := CheckID(f.field, f.id); err != nil {
			return err
		}
	}
	if life := time.Duration(c.ExpiresAt-c.IssuedAt) * time.Second; life <= 0 || life > MaxCommandLife {
		return fmt.Errorf("%w: command lives %s, want up to %s", ErrInvalid, life, MaxCommandLife)
	}
	if len(c.Because) > MaxCauses {
		return fmt.Errorf("%w: command has %d causes, limit %d", ErrInvalid, len(c.Because), MaxCauses)
	}
	for _, id := range c.Because {
		if err := id.check(); err != nil {
			return err
		}
	}
	if c.Assist != nil {
		if err := CheckID("session", c.Assist.Session); err != nil {
			return err
		}
	}
	return checkArgs("command choice", c.Choice)
}
