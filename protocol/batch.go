package protocol

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Kind says what a record's body is.
type Kind uint8

// The kinds of record. Event travels on LaneEvent, Schema and Block on LaneTelemetry, Gap on either: on the
// event lane it stands for events that an earlier acknowledgement freed and that the cloud lost again.
const (
	KindEvent  Kind = 1
	KindSchema Kind = 2
	KindBlock  Kind = 3
	KindGap    Kind = 4
)

// Batch is what one publish on an up lane carries: records with consecutive sequences.
//
// The clock fields let the cloud place records in true time even when the device's clock is wrong:
// a record of the same boot happened (SentMono - Record.Mono) before the batch was sent.
type Batch struct {
	Version  uint64   `cbor:"0,keyasint"`
	Epoch    uint64   `cbor:"1,keyasint"` // of this lane; grows whenever sequence numbers may have been lost
	First    uint64   `cbor:"2,keyasint"` // sequence of Records[0], from 1
	Boot     uint64   `cbor:"3,keyasint"` // number of this start of the agent, from 1
	SentMono int64    `cbor:"4,keyasint"` // milliseconds on the monotonic clock of Boot
	SentWall int64    `cbor:"5,keyasint"` // milliseconds since 1970 by the device's own clock
	Records  []Record `cbor:"6,keyasint"`
}

// Record is one thing that a device has to say. Its sequence is Batch.First plus the Span of all records before it.
type Record struct {
	Kind Kind            `cbor:"0,keyasint"`
	Boot uint64          `cbor:"1,keyasint"` // the start of the agent that wrote it
	Mono int64           `cbor:"2,keyasint"` // milliseconds on the monotonic clock of that boot
	Wall int64           `cbor:"3,keyasint"` // milliseconds since 1970 by the device's clock when written
	Span uint64          `cbor:"4,keyasint"` // how many sequences it takes: 1, or for a Gap as many as were dropped
	Body cbor.RawMessage `cbor:"5,keyasint"` // an Event, Schema, Block or Gap
}

// MaxSequence is the highest sequence that a batch may begin with: arithmetic on sequences cannot overflow.
const MaxSequence = 1 << 62

// MaxSpan is the most sequences that one gap may stand for.
const MaxSpan = 1 << 32

// Next is the sequence after the last record of the batch.
func (b *Batch) Next() uint64 {
	next := b.First
	for i := range b.Records {
		next += b.Records[i].Span
	}
	return next
}

func (b *Batch) check() error {
	if err := checkVersion("batch", b.Version); err != nil {
		return err
	}
	if b.Epoch == 0 || b.First == 0 || b.First > MaxSequence {
		return fmt.Errorf("%w: batch epoch and first sequence start at 1, got %d and %d", ErrInvalid, b.Epoch, b.First)
	}
	if n := len(b.Records); n == 0 || n > MaxRecords {
		return fmt.Errorf("%w: batch has %d records, want 1 to %d", ErrInvalid, n, MaxRecords)
	}
	for i := range b.Records {
		if err := b.Records[i].check(); err != nil {
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	return nil
}

func (r *Record) check() error {
	if r.Kind < KindEvent || r.Kind > KindGap {
		return fmt.Errorf("%w: record has unknown kind %d", ErrInvalid, r.Kind)
	}
	if r.Span == 0 || r.Span > MaxSpan || (r.Kind != KindGap && r.Span != 1) {
		return fmt.Errorf("%w: record of kind %d spans %d sequences", ErrInvalid, r.Kind, r.Span)
	}
	return nil
}

// Gap stands where records were dropped for want of room: never a silent hole. A gap that grew since it was
// last sent covers sequences that are committed already; only the others are gaps.
type Gap struct {
	Records uint64 `cbor:"0,keyasint"` // how many were dropped; equals the record's Span
	From    int64  `cbor:"1,keyasint"` // milliseconds since 1970 by the device's clock, of the oldest dropped
	To      int64  `cbor:"2,keyasint"` // and of the newest
	Reason  string `cbor:"3,keyasint"` // "quota", "corrupt" or "restart"
}

func (g *Gap) check() error {
	if g.Records == 0 {
		return fmt.Errorf("%w: gap of no records", ErrInvalid)
	}
	switch g.Reason {
	case "quota", "corrupt", "restart":
		return nil
	}
	return fmt.Errorf("%w: gap reason %q", ErrInvalid, clip(g.Reason))
}

// Ack says that every record of the lane up to and including Committed is durable in the cloud.
// Committed 0 means none of this epoch yet.
type Ack struct {
	Version   uint64 `cbor:"0,keyasint"`
	Lane      Lane   `cbor:"1,keyasint"`
	Epoch     uint64 `cbor:"2,keyasint"`
	Committed uint64 `cbor:"3,keyasint"`
}

func (a *Ack) check() error {
	if err := checkVersion("ack", a.Version); err != nil {
		return err
	}
	if a.Lane != LaneEvent && a.Lane != LaneTelemetry {
		return fmt.Errorf("%w: ack for unknown lane %d", ErrInvalid, a.Lane)
	}
	return nil
}

// State is the retained presence of a device; the broker publishes the offline form as its last will.
type State struct {
	Version uint64 `cbor:"0,keyasint"`
	Online  bool   `cbor:"1,keyasint"`
	Boot    uint64 `cbor:"2,keyasint"`
	Agent   string `cbor:"3,keyasint"` // version of the agent
	// Model is the risk model that the device scores itself by, as risk.Model.ID, or NoModel. Empty: an agent
	// that takes none from the cloud.
	Model string `cbor:"4,keyasint,omitempty"`
}

// NoModel is what a device without a risk model says in its state.
const NoModel = "none"

func (s *State) check() error {
	if err := checkVersion("state", s.Version); err != nil {
		return err
	}
	return errors.Join(checkText("agent", s.Agent), checkText("model", s.Model))
}

// Signal carries one step of WebRTC set-up between a browser and a device's assist process.
type Signal struct {
	Version uint64 `cbor:"0,keyasint"`
	Session string `cbor:"1,keyasint"`
	Kind    string `cbor:"2,keyasint"` // "offer", "answer", "candidate" or "end"
	Body    string `cbor:"3,keyasint"` // SDP, or an ICE candidate as JSON, or for "end" the reason
}

// MaxSignal bounds Signal.Body in bytes: an SDP with all candidates gathered stays below 8 KiB.
const MaxSignal = 32 << 10

func (s *Signal) check() error {
	if err := checkVersion("signal", s.Version); err != nil {
		return err
	}
	if err := CheckID("session", s.Session); err != nil {
		return err
	}
	switch s.Kind {
	case "offer", "answer", "candidate", "end":
	default:
		return fmt.Errorf("%w: signal kind %q", ErrInvalid, clip(s.Kind))
	}
	if len(s.Body) > MaxSignal {
		return fmt.Errorf("%w: signal body is %d bytes, limit %d", ErrInvalid, len(s.Body), MaxSignal)
	}
	return nil
}
