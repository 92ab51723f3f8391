package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
)

// Patience is how long a device may be away before it is news: longer than a reconnect with full jitter
// takes after a broker's restart.
const Patience = 2 * time.Minute

// QueueAway holds the timers that look whether a device is still away.
const QueueAway = "device-away"

// State is whether a device is there.
type State struct {
	Home   string    `json:"home"`
	Device string    `json:"device"`
	Online bool      `json:"online"`
	Since  time.Time `json:"since"`           // when Online last changed
	Agent  string    `json:"agent"`           // version of the agent; empty before it was first there
	Model  string    `json:"model,omitempty"` // risk model that the device scores itself by; see protocol.State
	Missed bool      `json:"missed"`
}

var states = store.NewTable("device_states", store.Spec[State]{
	Key:   store.Columns{store.Text("home"), store.Text("device")},
	KeyOf: func(s *State) store.Key { return store.Key{s.Home, s.Device} },
	Indexes: []store.Index[State]{{
		Name: "by_online",
		On:   store.Columns{store.Text("device")},
		Of: func(s *State) store.Key {
			if !s.Online {
				return nil
			}
			return store.Key{s.Device}
		},
	}, {
		Name: "by_model",
		On:   store.Columns{store.Text("model"), store.Text("device")},
		Of: func(s *State) store.Key {
			if s.Model == "" {
				return nil
			}
			return store.Key{s.Model, s.Device}
		},
	}},
})

// StateOf returns the state of a device; one that was never there has the zero state.
func StateOf(tx store.Tx, home, device string) (State, error) {
	s, err := states.Get(tx, home, device)
	if errors.Is(err, store.ErrNotFound) {
		return State{Home: home, Device: device}, nil
	}
	return s, err
}

// Append writes an entry to a timeline.
type Append func(store.Tx, cloud.Entry) error

// Presence records who comes and goes. It is what the gateway reports to.
type Presence struct{ Log Append }

// Home returns the home of a device, or store.ErrNotFound.
func (Presence) Home(tx store.Tx, device string) (string, error) {
	for key, err := range devices.Keys(tx, store.Range{Index: "by_device", Prefix: store.Key{device}, Limit: 1}) {
		if err != nil {
			return "", err
		}
		return key[0].(string), nil
	}
	return "", store.ErrNotFound
}

// Online returns a page of the devices that are kept as there.
func (Presence) Online(tx store.Tx, after store.Cursor, limit int) (ids []string, next store.Cursor, err error) {
	page, next, err := There(tx, after, limit)
	for _, s := range page {
		ids = append(ids, s.Device)
	}
	return ids, next, err
}

// Scoring returns a page of the devices that score themselves by a risk model, by id; of those that do by any, or
// could, when model is "".
func Scoring(tx store.Tx, model string, after store.Cursor, limit int) ([]State, store.Cursor, error) {
	r := store.Range{Index: "by_model", After: after, Limit: limit}
	if model != "" {
		r.Prefix = store.Key{model}
	}
	return states.Page(tx, r)
}

// There returns a page of the devices that are there, by id.
func There(tx store.Tx, after store.Cursor, limit int) ([]State, store.Cursor, error) {
	return states.Page(tx, store.Range{Index: "by_online", After: after, Limit: limit})
}

// Came records that a device is there, with the version of its agent and its risk model ("" when not yet
// known). The return of one that was missed becomes an entry.
func (p Presence) Came(tx store.Tx, home, device, agent, model string, at time.Time) error {
	s, err := StateOf(tx, home, device)
	if err != nil {
		return err
	}
	if agent == "" {
		agent, model = s.Agent, s.Model
	}
	if s.Online && s.Agent == agent && s.Model == model {
		return nil
	}
	news := s.Missed || s.Since.IsZero() // it was missed, or never there
	if !s.Online {
		s.Since = at.UTC()
	}
	s.Online, s.Agent, s.Model, s.Missed = true, agent, model, false
	if err := states.Put(tx, &s); err != nil {
		return err
	}
	timeline.Touch(tx, home)
	if !news {
		return nil
	}
	return p.Log(tx, entry(s, cloud.KindDeviceOnline))
}

// Left records that a device is away, and sets the timer after which it is missed.
func (Presence) Left(tx store.Tx, home, device string, at time.Time) error {
	s, err := StateOf(tx, home, device)
	if err != nil || !s.Online {
		return err
	}
	s.Online, s.Since = false, at.UTC()
	if err := states.Put(tx, &s); err != nil {
		return err
	}
	timeline.Touch(tx, home)
	payload, err := json.Marshal(away{home, device, s.Since})
	if err != nil {
		return err
	}
	id := fmt.Sprintf("%s-%d", device, s.Since.UnixMicro())
	return store.Enqueue(tx, store.Job{Queue: QueueAway, ID: id, Payload: payload, Due: s.Since.Add(Patience)})
}

type away struct {
	Home, Device string
	Since        time.Time
}

// StillAway is the timer's work: a device that has not come back since becomes an entry.
func (p Presence) StillAway(tx store.Tx, payload []byte) error {
	var a away
	if err := json.Unmarshal(payload, &a); err != nil {
		return fmt.Errorf("read job of queue %s: %w", QueueAway, err)
	}
	s, err := StateOf(tx, a.Home, a.Device)
	if err != nil || s.Online || s.Missed || !s.Since.Equal(a.Since) {
		return err
	}
	s.Missed = true
	if err := states.Put(tx, &s); err != nil {
		return err
	}
	return p.Log(tx, entry(s, cloud.KindDeviceOffline))
}

func entry(s State, kind cloud.Kind) cloud.Entry {
	return cloud.Entry{
		Home: s.Home, At: s.Since, Kind: kind,
		Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: s.Device}},
		Actor:    cloud.Ref{Type: cloud.RefService, ID: "fleet"},
	}
}
