package protocol

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Limits of every message, checked before any of it is believed.
const (
	MaxMessage = 256 << 10 // bytes; sixteen sealed blocks of five minutes fit, a hub's memory does too
	MaxDepth   = 8         // nesting; the deepest message of ours has 6
	MaxRecords = 1024      // records in one Batch
	MaxCauses  = 16        // causes of one event
	MaxArgs    = 32        // arguments of one event, action or step
	MaxText    = 4096      // bytes of one text
)

// Version is the message version that this package writes and the only one it reads.
const Version = 1

var (
	// ErrInvalid is wrapped by every error about input that is malformed or beyond a limit.
	ErrInvalid = errors.New("invalid message")
	// ErrVersion is returned for a message of a version that this build does not know.
	ErrVersion = errors.New("unknown message version")
)

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		UTF8:              cbor.UTF8RejectInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   MaxDepth,
		MaxArrayElements:  64 << 10,
		MaxMapPairs:       1024,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // constant options of this file; a unit test loads them
	}
	return v
}

// Marshal encodes a message of this package in core deterministic form.
func Marshal(m any) ([]byte, error) {
	b, err := encMode.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return b, nil
}

// Message is what Unmarshal can fill: it checks its own fields after the bytes were read.
type Message interface{ check() error }

// Unmarshal decodes one message and checks it against the limits of this package. Unknown keys,
// duplicate keys, indefinite lengths and trailing bytes are refused. Errors wrap ErrInvalid or ErrVersion.
// What is decoded may share b: the bodies of a Batch, the data of a Block.
func Unmarshal(b []byte, m Message) error {
	if len(b) > MaxMessage {
		return fmt.Errorf("%w: %T is %d bytes, limit %d", ErrInvalid, m, len(b), MaxMessage)
	}
	if q, ok := m.(quick); ok {
		if q.quick(b) {
			return m.check()
		}
		q.reset()
	}
	if err := decMode.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %T: %w", ErrInvalid, m, err)
	}
	return m.check()
}

func checkVersion(what string, v uint64) error {
	if v != Version {
		return fmt.Errorf("%w: %s has version %d, this build reads %d", ErrVersion, what, v, Version)
	}
	return nil
}

func checkText(field, s string) error {
	if len(s) > MaxText {
		return fmt.Errorf("%w: %s is %d bytes, limit %d", ErrInvalid, field, len(s), MaxText)
	}
	return nil
}

func checkArgs(field string, args map[string]string) error {
	if len(args) > MaxArgs {
		return fmt.Errorf("%w: %s has %d arguments, limit %d", ErrInvalid, field, len(args), MaxArgs)
	}
	for k, v := range args {
		if k == "" || len(k) > MaxID {
			return fmt.Errorf("%w: %s has an argument name of %d bytes, want 1 to %d", ErrInvalid, field, len(k), MaxID)
		}
		if err := checkText(field+"."+k, v); err != nil {
			return err
		}
	}
	return nil
}
