package gateway

import (
	"errors"

	"github.com/hearthline/hearthline/cloud/gateway/ingest"
	"github.com/hearthline/hearthline/protocol"
)

// courier is the gateway as the external broker's link sees it.
type courier struct{ *Gateway }

// Message takes a message of a lane; the broker gets its acknowledgement once it is committed.
func (c courier) Message(tenant, device string, lane protocol.Lane, payload []byte, done func()) {
	err := c.ingest.Submit(c.ctx, ingest.Message{
		Tenant: tenant, Device: device, Lane: lane, Payload: payload, Received: c.now(), Done: done,
	}, nil)
	if errors.Is(err, ingest.ErrMalformed) {
		c.log.Warn("message not understood", "tenant", tenant, "device", device, "error", err)
		done() // it will not get better
	}
}

// State keeps presence: with an external broker the retained state and the last will are all we see.
func (c courier) State(tenant, device string, s protocol.State, kept bool) {
	at := place{tenant, device}
	if !s.Online {
		c.presence.note(at, seen{at: c.now()})
		return
	}
	c.says(at, s)
	if !kept { // the states of a whole fleet come at once when we connect
		c.offerTime(tenant, device)
	}
	select {
	case c.came <- at:
	default: // waiting commands have their own next turn
	}
}

// Time answers a device that asks what time it is.
func (c courier) Time(tenant, device string, ask protocol.TimeRequest) {
	c.tellTime(tenant, device, ask)
}

// Signal takes a step of a remote session.
func (c courier) Signal(tenant, device string, s protocol.Signal) {
	if c.opts.Signal != nil {
		c.opts.Signal(tenant, device, s)
	}
}
