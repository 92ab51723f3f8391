// Package fleet knows the homes and what stands in them: devices, whether they are there, and when they
// were last heard of.
//
// A device that loses its connection for a moment, or all of them when a broker restarts, is no news. So
// the state of a device is kept at once (the console shows it), but an entry is written only for one that
// stayed away for Patience, and for its return.
package fleet

import (
	"errors"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

var homes = store.NewTable("homes", store.Spec[cloud.Home]{
	Key:   store.Columns{store.Text("home")},
	KeyOf: func(h *cloud.Home) store.Key { return store.Key{h.ID} },
})

var devices = store.NewTable("devices", store.Spec[cloud.Device]{
	Key:   store.Columns{store.Text("home"), store.Text("device")},
	KeyOf: func(d *cloud.Device) store.Key { return store.Key{d.Home, d.ID} },
	Indexes: []store.Index[cloud.Device]{
		{
			Name: "by_device",
			On:   store.Columns{store.Text("device")},
			Of:   func(d *cloud.Device) store.Key { return store.Key{d.ID} },
		},
		{
			Name: "by_name",
			On:   store.Columns{store.Text("name")},
			Of:   func(d *cloud.Device) store.Key { return store.Key{strings.ToLower(d.Name)} },
		},
	},
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{homes, devices, states} }

// MaxName bounds the names of homes and devices, in bytes.
const MaxName = 120

// AddHome checks and writes a new home. An empty id gets a new one.
func AddHome(tx store.Tx, h cloud.Home) (cloud.Home, error) {
	if h.ID == "" {
		h.ID = cloud.NewID()
	}
	if err := protocol.CheckID("id", h.ID); err != nil {
		return h, cloud.Invalid("id", "%s", err)
	}
	if h.Name = strings.TrimSpace(h.Name); h.Name == "" || len(h.Name) > MaxName {
		return h, cloud.Invalid("name", "want 1 to %d bytes, got %d", MaxName, len(h.Name))
	}
	if _, err := time.LoadLocation(h.TimeZone); err != nil {
		return h, cloud.Invalid("time_zone", "not the name of a time zone, like Asia/Taipei")
	}
	err := homes.Insert(tx, &h)
	if errors.Is(err, store.ErrExists) {
		return h, cloud.Errorf(cloud.CodeConflict, "there is a home with this id")
	}
	return h, err
}

// Home returns a home, or store.ErrNotFound.
func Home(tx store.Tx, id string) (cloud.Home, error) { return homes.Get(tx, id) }

// Homes returns a page of all homes, by id.
func Homes(tx store.Tx, after store.Cursor, limit int) ([]cloud.Home, store.Cursor, error) {
	return homes.Page(tx, store.Range{Limit: limit, After: after})
}

// Add checks and writes a new device of a home that exists. An empty id gets a new one.
func Add(tx store.Tx, d cloud.Device) (cloud.Device, error) {
	if d.ID == "" {
		d.ID = cloud.NewID()
	}
	if err := protocol.CheckID("id", d.ID); err != nil {
		return d, cloud.Invalid("id", "%s", err)
	}
	if d.Name = strings.TrimSpace(d.Name); d.Name == "" || len(d.Name) > MaxName {
		return d, cloud.Invalid("name", "want 1 to %d bytes, got %d", MaxName, len(d.Name))
	}
	if ok, err := homes.Has(tx, d.Home); err != nil {
		return d, err
	} else if !ok {
		return d, cloud.Invalid("home", "there is no such home")
	}
	if _, err := Device(tx, d.ID); err == nil {
		return d, cloud.Errorf(cloud.CodeConflict, "there is a device with this id")
	} else if !errors.Is(err, store.ErrNotFound) {
		return d, err
	}
	return d, devices.Insert(tx, &d)
}

// Device returns a device wherever it stands, or store.ErrNotFound.
func Device(tx store.Tx, id string) (cloud.Device, error) {
	for d, err := range devices.Scan(tx, store.Range{Index: "by_device", Prefix: store.Key{id}, Limit: 1}) {
		return d, err
	}
	return cloud.Device{}, store.ErrNotFound
}

// Devices returns the devices of a home, by id.
func Devices(tx store.Tx, home string) ([]cloud.Device, error) {
	out := []cloud.Device{}
	for d, err := range devices.Scan(tx, store.Range{Prefix: store.Key{home}}) {
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// All returns up to limit devices whose ids are above after, by id.
func All(tx store.Tx, after string, limit int) ([]cloud.Device, error) {
	var out []cloud.Device
	for d, err := range devices.Scan(tx, store.Range{Index: "by_device", From: after, Limit: limit + 1}) {
		if err != nil {
			return nil, err
		}
		if d.ID != after && len(out) < limit {
			out = append(out, d)
		}
	}
	return out, nil
}

// Find returns up to limit devices whose id or name begins with q.
func Find(tx store.Tx, q string, limit int) ([]cloud.Device, error) {
	var out []cloud.Device
	seen := map[string]bool{}
	for _, r := range []store.Range{
		{Index: "by_device", From: q, To: q + "\U0010FFFF", Limit: limit},
		{Index: "by_name", From: strings.ToLower(q), To: strings.ToLower(q) + "\U0010FFFF", Limit: limit},
	} {
		for d, err := range devices.Scan(tx, r) {
			if err != nil {
				return nil, err
			}
			if !seen[d.ID] && len(out) < limit {
				seen[d.ID] = true
				out = append(out, d)
			}
		}
	}
	return out, nil
}
