package outbreak

import (
	"errors"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// day is what is to be said of a device in a step. A quiet step of a device that was there has no row.
type day struct {
	Home     string           `json:"home"`
	Device   string           `json:"device"`
	Step     int64            `json:"step"`
	Faults   []time.Time      `json:"faults,omitempty"`   // when each began; at most maxFaults
	Contacts []time.Time      `json:"contacts,omitempty"` // when the customer complained; at most one is kept
	First    protocol.EntryID `json:"first,omitempty"`    // the entry of the first fault or complaint
	Silent   bool             `json:"silent,omitempty"`   // it was not heard of
}

// maxFaults bounds a row. A device with more in a step is as bad as can be said.
const maxFaults = 31

var days = store.NewTable("outbreak_days", store.Spec[day]{
	Key:   store.Columns{store.Text("home"), store.Text("device"), store.Int("step")},
	KeyOf: func(d *day) store.Key { return store.Key{d.Home, d.Device, d.Step} },
	Indexes: []store.Index[day]{{
		Name: "by_step",
		On:   store.Columns{store.Int("step")},
		Of:   func(d *day) store.Key { return store.Key{d.Step} },
	}},
})

// Rules are the reactions that count: what a device reports as a fault, its absence, and what customers say.
func (o *Outbreak) Rules() []timeline.Rule {
	rules := []timeline.Rule{{On: cloud.KindContact, Name: "outbreak counts a complaint", Do: o.complained}}
	for _, k := range []cloud.Kind{
		cloud.Kind(protocol.EventSymptom), cloud.Kind(protocol.EventFixFailed), cloud.Kind(protocol.EventBoot), cloud.KindDeviceOffline,
	} {
		rules = append(rules, timeline.Rule{On: k, Name: "outbreak counts a fault", Do: o.failed})
	}
	return rules
}

// ownRestarts are the reasons of a restart that say nothing against the device.
var ownRestarts = map[string]bool{"": true, "first": true, "update": true, "power": true}

// failed counts an entry about a device as a fault, unless it belongs to one that has just been counted:
// a bad line shows in many signals.
func (o *Outbreak) failed(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	device := e.Device()
	if device == "" || e.Kind == cloud.Kind(protocol.EventBoot) && ownRestarts[e.Args["reason"]] {
		return nil, nil
	}
	at := o.when(e)
	d, err := o.day(tx, e.Home, device, at)
	if err != nil {
		return nil, err
	}
	if len(d.Faults) >= maxFaults {
		return nil, nil
	}
	for _, earlier := range d.Faults {
		if gap := at.Sub(earlier).Abs(); gap < o.opts.Apart {
			return nil, nil
		}
	}
	d.Faults = append(d.Faults, at)
	return nil, d.put(tx, e.ID)
}

// complained counts a contact against the device it is about: the one named, else the home's only one,
// else the one that failed last within the step or the one before. If none did, it is nobody's.
func (o *Outbreak) complained(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	at := o.when(e)
	device := e.Subject(cloud.RefDevice)
	if device == "" {
		devices, err := o.opts.Fleet.Devices(tx, e.Home)
		if err != nil {
			return nil, err
		}
		var last time.Time
		for _, c := range devices {
			if len(devices) == 1 {
				device = c.ID
				break
			}
			for step := o.stepOf(at) - 1; step <= o.stepOf(at); step++ {
				d, err := days.Get(tx, e.Home, c.ID, step)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return nil, err
				}
				for _, f := range d.Faults {
					if f.After(last) {
						last, device = f, c.ID
					}
				}
			}
		}
	}
	if device == "" {
		return nil, nil
	}
	d, err := o.day(tx, e.Home, device, at)
	if err != nil || len(d.Contacts) > 0 { // calling twice is not being twice as broken
		return nil, err
	}
	d.Contacts = append(d.Contacts, at)
	return nil, d.put(tx, e.ID)
}

// when is the entry's time, or that of its arrival where the device's clock is ahead.
func (o *Outbreak) when(e *cloud.Entry) time.Time {
	if e.At.After(e.Recorded) {
		return e.Recorded
	}
	return e.At
}

func (o *Outbreak) day(tx store.Tx, home, device string, at time.Time) (day, error) {
	step := o.stepOf(at)
	d, err := days.Get(tx, home, device, step)
	if errors.Is(err, store.ErrNotFound) {
		return day{Home: home, Device: device, Step: step}, nil
	}
	return d, err
}

func (d *day) put(tx store.Tx, entry protocol.EntryID) error {
	if d.First == "" {
		d.First = entry
	}
	return days.Put(tx, d)
}
