package uplink

import (
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/protocol"
)

const (
	askEvery = time.Hour   // quartz is off by less than a second in it
	askAgain = time.Minute // when there was no answer
	maxHeld  = 64 * 1024   // bytes of commands that wait for the answer
)

// timekeeper asks the cloud for the time, once it has offered to tell it.
type timekeeper struct {
	offered bool      // on the present connection
	due     time.Time // when to ask next
	held    [][]byte  // commands that came while the time is being asked for, in order
	bytes   int       // of held
}

// connected begins a connection. A question that the last one may have taken with it need not wait.
func (k *timekeeper) connected() {
	k.offered = false
	if time.Until(k.due) <= askAgain {
		k.due = time.Time{}
	}
}

// keepTime asks when that is due, and lets commands go that have waited long enough. It returns how long
// nothing needs to be done.
func (u *Uplink) keepTime(c mqtt.Client) time.Duration {
	k, next := &u.time, time.Hour
	if k.offered && u.opts.OnTime != nil {
		if time.Until(k.due) <= 0 {
			b, err := protocol.Marshal(&protocol.TimeRequest{Version: protocol.Version, Nonce: u.opts.Clock.Ask()})
			if err != nil {
				panic(err) // plain fields
			}
			c.Publish(protocol.Topic(u.opts.Tenant, u.opts.Device, protocol.UpTime), 0, false, b)
			k.due = time.Now().Add(askAgain)
		}
		next = time.Until(k.due)
	}
	if left := u.opts.Clock.Asking(); left > 0 {
		return min(next, left)
	}
	held := k.held
	k.held, k.bytes = nil, 0
	for _, signed := range held {
		u.opts.OnCommand(signed)
	}
	return next
}

// told takes a message on down/time: the offer, or an answer.
func (u *Uplink) told(payload []byte) error {
	if len(payload) == 0 {
		u.time.offered = true
		return nil
	}
	if u.opts.OnTime == nil {
		return nil
	}
	err := u.opts.OnTime(payload)
	if err == nil {
		u.time.due = time.Now().Add(askEvery)
	}
	return err
}

// command hands a command on, or keeps it until it is known what time it is. The cloud repeats one that finds
// no room.
func (u *Uplink) command(signed []byte) {
	k := &u.time
	switch {
	case u.opts.OnCommand == nil:
	case len(k.held) == 0 && u.opts.Clock.Asking() == 0:
		u.opts.OnCommand(signed)
	case k.bytes+len(signed) <= maxHeld:
		k.held, k.bytes = append(k.held, signed), k.bytes+len(signed)
	}
}
