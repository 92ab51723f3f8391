package protocol

import (
	"fmt"
)

// EventKind names what happened, in the form subject.verb.
type EventKind string

// What a device reports. Each becomes one timeline entry of the same kind.
const (
	EventBoot           EventKind = "agent.started"    // Args: reason, version; declares that RAM telemetry before it may be missing
	EventSymptom        EventKind = "symptom.seen"     // a signal left its normal range; Args: metric, instance, value, normal
	EventSymptomOver    EventKind = "symptom.cleared"  // and came back
	EventRisk           EventKind = "risk.raised"      // the hub's own model crossed its threshold; Risk is set
	EventRiskOver       EventKind = "risk.cleared"     // and fell below it
	EventDiagnosis      EventKind = "diagnosis.done"   // Diagnosis is set
	EventCommand        EventKind = "command.refused"  // Args: command, reason
	EventFixApplied     EventKind = "fix.applied"      // Args: command, plan, action, and what was before
	EventFixVerified    EventKind = "fix.verified"     // its check held; the change is kept
	EventFixRolledBack  EventKind = "fix.rolled_back"  // its check did not hold, or nobody confirmed; the former state is back
	EventFixFailed      EventKind = "fix.failed"       // it could not be applied, or not be undone; Args: reason
	EventSessionStarted EventKind = "session.started"  // the assist process runs; Args: session
	EventSessionEnded   EventKind = "session.ended"    // Args: session, reason
	EventSessionAction  EventKind = "session.action"   // something was done inside a session; Args: session, what
	EventUplink         EventKind = "uplink.restored"  // after an outage of half a minute or more; Args: why, down_ms, attempts
	EventOutboxReset    EventKind = "outbox.set_aside" // the spool was corrupt and starts anew; Args: reason
)

// Event is something that a person may want explained. Because names its causes.
type Event struct {
	Version   uint64            `cbor:"0,keyasint"`
	Kind      EventKind         `cbor:"1,keyasint"`
	Because   []EntryID         `cbor:"2,keyasint,omitempty"`
	Evidence  []Evidence        `cbor:"3,keyasint,omitempty"`
	Args      map[string]string `cbor:"4,keyasint,omitempty"` // numbers in decimal with a point; units are in the name
	Diagnosis *Diagnosis        `cbor:"5,keyasint,omitempty"`
	Risk      *Risk             `cbor:"6,keyasint,omitempty"`
}

// Evidence points at samples: what this metric showed between two moments.
type Evidence struct {
	Metric   string `cbor:"0,keyasint" json:"metric"`
	Instance string `cbor:"1,keyasint,omitempty" json:"instance,omitempty"`
	From     int64  `cbor:"2,keyasint" json:"from"` // milliseconds since 1970 by the device's clock
	To       int64  `cbor:"3,keyasint" json:"to"`
}

// Risk is a prediction: the probability of a connection fault within the horizon, and why.
type Risk struct {
	Model       string   `cbor:"0,keyasint" json:"model"` // id of the model that scored
	Probability float64  `cbor:"1,keyasint" json:"probability"`
	HorizonS    int64    `cbor:"2,keyasint" json:"horizon_s"`   // seconds
	Reasons     []Reason `cbor:"3,keyasint" json:"reasons"`     // largest share first
	Window      []byte   `cbor:"4,keyasint,omitempty" json:"-"` // a sealed Block of high-resolution evidence; may be empty
}

// Reason is one cause of a score with its share of it.
type Reason struct {
	Feature  string  `cbor:"0,keyasint" json:"feature"`
	Instance string  `cbor:"1,keyasint,omitempty" json:"instance,omitempty"`
	Value    float64 `cbor:"2,keyasint" json:"value"`
	Normal   float64 `cbor:"3,keyasint" json:"normal"` // what this device usually shows
	Share    float64 `cbor:"4,keyasint" json:"share"`  // 0 to 1, all reasons together at most 1
}

func (e *Event) check() error {
	if err := checkVersion("event", e.Version); err != nil {
		return err
	}
	if e.Kind == "" || len(e.Kind) > MaxID {
		return fmt.Errorf("%w: event kind is %d bytes, want 1 to %d", ErrInvalid, len(e.Kind), MaxID)
	}
	if len(e.Because) > MaxCauses || len(e.Evidence) > MaxCauses {
		return fmt.Errorf("%w: event has %d causes and %d pieces of evidence, limit %d each", ErrInvalid, len(e.Because), len(e.Evidence), MaxCauses)
	}
	for _, id := range e.Because {
		if err := id.check(); err != nil {
			return err
		}
	}
	for _, v := range e.Evidence {
		if v.Metric == "" || len(v.Metric) > MaxID || len(v.Instance) > MaxID {
			return fmt.Errorf("%w: evidence metric %q instance %q, want at most %d bytes", ErrInvalid, clip(v.Metric), clip(v.Instance), MaxID)
		}
	}
	if e.Diagnosis != nil {
		if err := e.Diagnosis.check(); err != nil {
			return err
		}
	}
	if e.Risk != nil && (len(e.Risk.Reasons) > MaxCauses || !(e.Risk.Probability >= 0 && e.Risk.Probability <= 1)) {
		return fmt.Errorf("%w: risk has %d reasons (limit %d) and probability %v", ErrInvalid, len(e.Risk.Reasons), MaxCauses, e.Risk.Probability)
	}
	return checkArgs("event", e.Args)
}
