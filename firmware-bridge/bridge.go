// Package bridge is how the agent sees and changes real hardware. A driver is one package below this
// one; it implements Driver, passes bridgetest, and knows nothing of MQTT, the cloud or the outbox.
package bridge

import (
	"context"
	"errors"

	"github.com/hearthline/hearthline/protocol"
)

var (
	// ErrUnsupported is returned for an action, check or diagnosis that the driver does not offer or
	// that this hardware cannot do (no Wi-Fi, one uplink). Nothing was changed.
	ErrUnsupported = errors.New("not supported by this device")
	// ErrArgument is wrapped by errors about a bad target or argument; they name the field and what is allowed.
	ErrArgument = errors.New("bad argument")
)

// Description is what the device is. All fields are optional but Model.
type Description struct {
	Model    string
	Firmware string
	Hardware string
	Kernel   string
	Bridge   string // the driver: "linux", "replay", ...
}

// Describer says what the device is.
type Describer interface {
	Describe(ctx context.Context) (Description, error)
}

// Sampler reads every metric once. A metric that cannot be read is NaN in the sample, never an error;
// an error means that nothing could be read. The sample is valid until the next call: a driver may
// reuse it. It takes at most the context's deadline, and a driver probes slow things in the background.
type Sampler interface {
	Sample(ctx context.Context) (*protocol.Sample, error)
}

// Diagnoser looks into something without changing it. step is called in order from one goroutine as
// findings come in; it may be nil.
type Diagnoser interface {
	Diagnose(ctx context.Context, req protocol.DiagnosisRequest, step func(protocol.Step)) (protocol.Diagnosis, error)
}

// Applier changes the device. Undo is asked before anything is changed, so that the caller can put the
// intent on disk first; Apply of what Undo returned restores the former state exactly, also when the
// action was applied only in part or not at all, and also after a restart.
type Applier interface {
	Undo(ctx context.Context, a protocol.Action) (protocol.Action, error)
	Apply(ctx context.Context, a protocol.Action) error
	Check(ctx context.Context, c protocol.Check) (bool, error) // by a fresh measurement
}

// Driver is the whole contract. Its methods are safe for concurrent use, except that at most one
// Apply runs at a time; Close releases what it holds and waits for its goroutines.
type Driver interface {
	Describer
	Sampler
	Diagnoser
	Applier
	Close() error
}
