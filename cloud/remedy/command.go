package remedy

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// QueueOverdue holds the timers that look whether a command has had its end; see Overdue.
const QueueOverdue = "command-overdue"

const (
	// CommandLife is how long a command may wait for its device: what was right to do three minutes ago
	// need not be right now.
	CommandLife = 3 * time.Minute
	// graceAfter is for the outcome to come in, after all the time that a plan allows.
	graceAfter = 30 * time.Second
)

// order is what a command was for.
type order struct {
	Home    string        `json:"home"`
	ID      string        `json:"id"` // of the command
	Device  string        `json:"device"`
	Plan    string        `json:"plan"`
	Verb    protocol.Verb `json:"verb"`
	Session string        `json:"session,omitempty"`
	Over    bool          `json:"over"` // its last event came, or none will
}

var orders = store.NewTable("orders", store.Spec[order]{
	Key:   store.Columns{store.Text("home"), store.Text("command")},
	KeyOf: func(o *order) store.Key { return store.Key{o.Home, o.ID} },
})

// issue sends a command and remembers what for. because is the entry that it follows from.
func (r *Remedy) issue(tx store.Tx, home, device string, p signed, choice map[string]string, assist *protocol.Assist, because protocol.EntryID) (order, error) {
	now := r.now()
	c, err := r.Commands.Send(tx, home, p.ID, protocol.Command{
		Device: device, Plan: p.bytes, Choice: choice, Assist: assist,
		Because: []protocol.EntryID{because}, ExpiresAt: now.Add(CommandLife).Unix(),
	})
	if err != nil {
		return order{}, err
	}
	o := order{Home: home, ID: c.ID, Device: device, Plan: p.ID, Verb: p.Verb}
	if assist != nil {
		o.Session = assist.Session
	}
	if err := orders.Insert(tx, &o); err != nil {
		return o, err
	}
	payload, err := json.Marshal(overdue{home, c.ID})
	if err != nil {
		return o, err
	}
	late := now.Add(CommandLife + time.Duration(p.WithinS)*time.Second + graceAfter)
	return o, store.Enqueue(tx, store.Job{Queue: QueueOverdue, ID: c.ID, Payload: payload, Due: late})
}

type overdue struct{ Home, Command string }

// orderOf returns the order that an entry is about; ok is false when it is about none of ours.
func orderOf(tx store.Tx, e *cloud.Entry) (o order, ok bool, err error) {
	id := e.Args["command"]
	if id == "" {
		return o, false, nil
	}
	o, err = orders.Get(tx, e.Home, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) { // the id comes from a device
		return o, false, nil
	}
	if e.Actor.Type == cloud.RefDevice && e.Actor.ID != o.Device {
		return o, false, err
	}
	return o, err == nil, err
}

// finish returns the order that an entry ends; ok is false when there is none or it has ended before.
func finish(tx store.Tx, e *cloud.Entry) (o order, ok bool, err error) {
	o, ok, err = orderOf(tx, e)
	if !ok || err != nil || o.Over {
		return o, false, err
	}
	o.Over = true
	return o, true, orders.Put(tx, &o)
}

// SessionOf returns the remote session that a command was for, or "".
func (r *Remedy) SessionOf(tx store.Tx, e *cloud.Entry) (string, error) {
	o, _, err := orderOf(tx, e)
	return o.Session, err
}

// Overdue is the work of QueueOverdue: a fix or diagnosis that the device began and never ended becomes an
// entry. One that it never began is the sender's to tell.
func (r *Remedy) Overdue(tx store.Tx, payload []byte, log func(store.Tx, cloud.Entry) error) error {
	var due overdue
	if err := json.Unmarshal(payload, &due); err != nil {
		return fmt.Errorf("read job of queue %s: %w", QueueOverdue, err)
	}
	o, err := orders.Get(tx, due.Home, due.Command)
	if errors.Is(err, store.ErrNotFound) || err == nil && (o.Over || o.Verb == protocol.VerbAssist) {
		return nil
	}
	if err != nil {
		return err
	}
	return log(tx, cloud.Entry{
		ID: protocol.EntryID("overdue-" + o.ID), Home: o.Home, Kind: cloud.KindCommandExpired,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: o.Device}, {Type: cloud.RefCommand, ID: o.ID}},
		Actor:    self, Args: map[string]string{"command": o.ID, "plan": o.Plan},
	})
}
