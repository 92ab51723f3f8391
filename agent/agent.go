// Package agent is the vocabulary of the device's side: the clock that stamps records, the log that
// takes them, and who the device is. The packages below it do one thing each and know only these
// words; agent/app puts them together. Nothing of the agent listens on any port.
//
//	driver ──▶ sampler ──▶ outbox ──▶ uplink ──▶ cloud
//	   ▲                      ▲          │
//	   └── remedy, diagnose ──┴──────────┘ signed commands
package agent

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// Version is what this build calls itself; the linker may set it.
var Version = "dev"

// Log takes what the device has to say. The outbox is one. It is safe for concurrent use.
type Log interface {
	// Event returns once the event is durable, with the id that later events may cite as their cause.
	Event(ctx context.Context, e *protocol.Event) (protocol.EntryID, error)
	// Telemetry takes a schema or a block (KindSchema, KindBlock). It may be lost by a power cut as long
	// as the cloud has not acknowledged it.
	Telemetry(kind protocol.Kind, body []byte) error
}

// Journal is a Log with a few named notes beside it, for what must become true together with an event: a
// note that is set or removed in the same commit. The outbox is one. It is safe for concurrent use.
type Journal interface {
	Log
	// EventNote records the event and, in the same commit, sets the note that value returns for the
	// event's id; a nil note is removed. value must not call the journal.
	EventNote(ctx context.Context, e *protocol.Event, name string, value func(protocol.EntryID) []byte) (protocol.EntryID, error)
	SetNote(name string, value []byte) error // durable on return; nil removes the note
	Note(name string) ([]byte, error)        // nil when there is none
	// WaitAcked returns when the cloud has acknowledged the event, or the context's error.
	WaitAcked(ctx context.Context, id protocol.EntryID) error
}

// Command is a command that was verified: both signatures, the audience, its order and its life.
type Command struct {
	protocol.Command
	Allowed protocol.Plan // what Command.Plan says
}

// Place is where a record stands on its lane. The zero Place is before everything.
type Place struct {
	Epoch    uint64
	Sequence uint64
}

// Run is a run of consecutive records of one epoch, ready for a batch.
type Run struct {
	Epoch   uint64
	First   uint64 // sequence of Records[0]
	Records []protocol.Record
}

// Next is the place after the run.
func (r *Run) Next() Place {
	b := protocol.Batch{First: r.First, Records: r.Records}
	return Place{r.Epoch, b.Next()}
}

// Identity is who the device is, whom it trusts and where it connects. It is read-only once made.
type Identity struct {
	Tenant      string
	Device      string
	Broker      string // host:port, TLS
	Certificate tls.Certificate
	Roots       *x509.CertPool
	CommandKeys []ed25519.PublicKey // of the cloud
	PlanKeys    []ed25519.PublicKey // that may authorise what is done at all
}

// TLS is the configuration for every connection to the cloud. Certificates are not checked against the
// device's clock as it is, since that may be wrong by years, but against the nearest moment at which the
// device's own certificate is valid: at no other moment could the connection succeed anyway.
func (id *Identity) TLS() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{id.Certificate},
		RootCAs:      id.Roots,
		MinVersion:   tls.VersionTLS12,
		Time:         id.Now,
	}
}

// Now is the device's clock kept within the life of its certificate.
func (id *Identity) Now() time.Time {
	now := time.Now()
	leaf := id.Certificate.Leaf
	switch {
	case leaf == nil:
	case now.Before(leaf.NotBefore):
		return leaf.NotBefore
	case now.After(leaf.NotAfter):
		return leaf.NotAfter
	}
	return now
}
