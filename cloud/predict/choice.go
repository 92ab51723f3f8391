package predict

import (
	"fmt"
	"hash/fnv"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol/risk"
)

// For returns the version that a device is to use: the rolling one when the device is among its share, else the
// active one. ok is false when there is none.
func (r *Registry) For(tx store.Tx, name, device string) (rec Record, ok bool, err error) {
	c, err := r.choice(tx, name)
	if err != nil {
		return rec, false, err
	}
	rec, ok = c.of(device)
	return rec, ok, nil
}

// choice is what devices can get: the version in use, and the one that is being rolled out.
type choice struct {
	active, rolling     Record
	isActive, isRolling bool
}

func (r *Registry) choice(tx store.Tx, name string) (c choice, err error) {
	if c.active, c.isActive, err = r.find(tx, name, Active); err != nil {
		return c, err
	}
	c.rolling, c.isRolling, err = r.find(tx, name, Rolling)
	return c, err
}

func (c *choice) of(device string) (Record, bool) {
	if c.isRolling && place(c.rolling.Name, c.rolling.Version, device) < c.rolling.Share {
		return c.rolling, true
	}
	return c.active, c.isActive
}

// place is where a device stands in [0, 1) for a version: each roll-out begins with other homes, and a device that is
// in a stage is in all later ones.
func place(name string, version int64, device string) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d/%s", name, version, device)
	x := h.Sum64() * 0x9e3779b97f4a7c15
	return float64((x^x>>29)>>11) * 0x1p-53
}

// Wire returns a version as hubs are sent it.
func (r *Registry) Wire(tx store.Tx, name string, version int64) ([]byte, error) {
	w, err := wires.Get(tx, name, version)
	return w.Signed, err
}

func model(tx store.Tx, rec *Record) (*risk.Model, error) {
	w, err := wires.Get(tx, rec.Name, rec.Version)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", rec.ID(), err)
	}
	return risk.Decode(w.Model)
}

// InUse returns the model in use, nil when there is none.
func (r *Registry) InUse(tx store.Tx, name string) (*risk.Model, error) {
	rec, ok, err := r.find(tx, name, Active)
	if err != nil || !ok {
		return nil, err
	}
	return model(tx, &rec)
}

// find returns the newest version in a state.
func (r *Registry) find(tx store.Tx, name string, state State) (Record, bool, error) {
	for rec, err := range models.Scan(tx, store.Range{Prefix: store.Key{name}, Reverse: true}) {
		if err != nil {
			return rec, false, err
		}
		if rec.State == state {
			return rec, true, nil
		}
	}
	return Record{}, false, nil
}
