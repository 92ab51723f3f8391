package risk

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// MaxModelBytes is the size a model may have on the wire: it is one message to a hub. Larger models stay in the
// cloud and are not limited.
const MaxModelBytes = 256 << 10

const format = 1 // of the encoding

type wire struct {
	Format uint64 `cbor:"0,keyasint"`
	Model  *Model `cbor:"1,keyasint"`
}

type wireState struct {
	Format uint64    `cbor:"0,keyasint"`
	Model  string    `cbor:"1,keyasint"` // name of the model
	Shape  []int     `cbor:"2,keyasint"` // slots, signals
	Slots  []float32 `cbor:"3,keyasint"`
	First  []float64 `cbor:"4,keyasint"` // seconds before the state was taken; NaN: never
	Seen   []float64 `cbor:"5,keyasint"`
	Heard  []uint32  `cbor:"6,keyasint"`
	Own    []float64 `cbor:"7,keyasint,omitempty"` // faults, expected, age
}

func encMode() (cbor.EncMode, error) {
	return cbor.CoreDetEncOptions().EncMode()
}

func decMode() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 8, MaxArrayElements: 1 << 16, MaxMapPairs: 64,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
}

// Encode returns the model in deterministic CBOR with integer keys. It carries no signature: whoever sends it
// signs these bytes.
func Encode(m *Model) ([]byte, error) {
	em, err := encMode()
	if err != nil {
		return nil, err
	}
	return em.Marshal(wire{Format: format, Model: m})
}

// Decode reads, checks and compiles a model. Every error wraps ErrModel.
func Decode(b []byte) (*Model, error) {
	dm, err := decMode()
	if err != nil {
		return nil, err
	}
	var w wire
	if err := dm.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModel, err)
	}
	if w.Format != format || w.Model == nil {
		return nil, fmt.Errorf("%w: format %d, this program reads %d", ErrModel, w.Format, format)
	}
	if err := w.Model.Compile(); err != nil {
		return nil, err
	}
	return w.Model, nil
}

// Export returns the state of a link at time at, so that another process, or another boot with another clock, can
// carry on from it.
func (m *Model) Export(k *Link, at float64) ([]byte, error) {
	em, err := encMode()
	if err != nil {
		return nil, err
	}
	return em.Marshal(m.state(k, at))
}

func (m *Model) state(k *Link, at float64) wireState {
	w := wireState{
		Format: format, Model: m.Name, Shape: []int{len(k.slots), len(k.seen)},
		Slots: k.slots, Heard: k.heard, First: make([]float64, len(k.first)), Seen: make([]float64, len(k.seen)),
	}
	for i := range k.seen {
		w.First[i], w.Seen[i] = at-k.first[i], at-k.seen[i]
	}
	if m.Own.Prior > 0 {
		w.Own = []float64{k.own.faults, k.own.expected, at - k.own.at}
	}
	return w
}

// Restore returns the link of an exported state, as if it had been exported at time at on the present clock. A
// state of a model with another input side is refused.
func (m *Model) Restore(b []byte, at float64) (*Link, error) {
	w, err := decodeState(b)
	if err != nil {
		return nil, err
	}
	return m.restore(w, at)
}

func decodeState(b []byte) (wireState, error) {
	var w wireState
	dm, err := decMode()
	if err != nil {
		return w, err
	}
	if err := dm.Unmarshal(b, &w); err != nil {
		return w, fmt.Errorf("restore link state: %w", err)
	}
	return w, nil
}

func (m *Model) restore(w wireState, at float64) (*Link, error) {
	k := m.NewLink()
	if w.Format != format || w.Model != m.Name || len(w.Shape) != 2 || w.Shape[0] != len(k.slots) || w.Shape[1] != len(k.seen) ||
		len(w.Slots) != len(k.slots) || len(w.First) != len(k.seen) || len(w.Seen) != len(k.seen) || len(w.Heard) != len(k.seen) {
		return nil, fmt.Errorf("restore link state: it belongs to model %q with another input, not to %q", w.Model, m.Name)
	}
	copy(k.slots, w.Slots)
	copy(k.heard, w.Heard)
	for i := range k.seen {
		if w.Heard[i] > 0 && (!finite(w.First[i], w.Seen[i]) || w.Seen[i] < 0 || w.First[i] < w.Seen[i]) {
			return nil, fmt.Errorf("restore link state: signal %d has no honest times", i)
		}
		k.first[i], k.seen[i] = at-w.First[i], at-w.Seen[i]
	}
	if len(w.Own) == 3 && m.Own.Prior > 0 {
		if !finite(w.Own...) || w.Own[0] < 0 || w.Own[1] < 0 {
			return nil, errors.New("restore link state: its own past is malformed")
		}
		k.own = own{w.Own[0], w.Own[1], at - w.Own[2]}
	}
	return k, nil
}
