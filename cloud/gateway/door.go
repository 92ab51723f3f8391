package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/hearthline/hearthline/cloud/gateway/broker"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/ingest"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// identify reads who a connection is from its certificate, which the handshake has verified, and holds
// the client id against it.
func identify(c net.Conn, clientID string) (tenant, device string, err error) {
	t, ok := c.(*tls.Conn)
	if !ok || len(t.ConnectionState().PeerCertificates) == 0 {
		return "", "", fmt.Errorf("%w: no certificate was presented", ca.ErrForeign)
	}
	id, err := ca.Named(t.ConnectionState().PeerCertificates[0])
	if err != nil {
		return "", "", err
	}
	if clientID != id.Device {
		return "", "", fmt.Errorf("client id is not the device %s that the certificate names", id.Device)
	}
	return id.Tenant, id.Device, nil
}

// door is the gateway as the broker sees it.
type door struct{ *Gateway }

// Connected lets in a device that is in the registry.
func (d door) Connected(s *broker.Session) error {
	err := d.opts.DB.View(d.ctx, s.Tenant, func(tx store.Tx) error {
		_, err := d.opts.Devices.Home(tx, s.Device)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: device %s is in no home", broker.ErrRefused, s.Device)
	}
	if err != nil {
		return fmt.Errorf("look device %s up: %w", s.Device, err)
	}
	return nil
}

// Subscribed notes that the device is there, now that it can be told something, and has the commands that wait for the device published.
func (d door) Subscribed(s *broker.Session) {
	d.presence.note(place{s.Tenant, s.Device}, seen{online: true, at: d.now()})
	d.offerTime(s.Tenant, s.Device) // before its commands: what time it is decides whether it obeys them
	select {
	case d.came <- place{s.Tenant, s.Device}:
	default: // their own next turn will do
	}
}

// Disconnected notes that the device is gone, unless it is back already or we are closing.
func (d door) Disconnected(s *broker.Session, takenOver bool) {
	if !takenOver && d.ctx.Err() == nil {
		d.presence.note(place{s.Tenant, s.Device}, seen{at: d.now()})
	}
}

// Publish takes a message. It waits while ingest is full, and with it this device alone.
func (d door) Publish(s *broker.Session, c protocol.Channel, payload []byte) error {
	if lane, ok := c.Lane(); ok {
		waited := false
		err := d.ingest.Submit(d.ctx, ingest.Message{
			Tenant: s.Tenant, Device: s.Device, Lane: lane, Payload: payload, Received: d.now(),
		}, func() {
			waited = true
			s.Busy()
		})
		if waited {
			s.Ready()
		}
		return err
	}
	switch c {
	case protocol.UpState:
		var st protocol.State
		if err := protocol.Unmarshal(payload, &st); err != nil {
			return err
		}
		if st.Online { // its goodbye is followed by the end of the connection
			d.says(place{s.Tenant, s.Device}, st)
		}
	case protocol.UpAssist:
		var sig protocol.Signal
		if err := protocol.Unmarshal(payload, &sig); err != nil {
			return err
		}
		if d.opts.Signal != nil {
			d.opts.Signal(s.Tenant, s.Device, sig)
		}
	case protocol.UpTime:
		var ask protocol.TimeRequest
		if err := protocol.Unmarshal(payload, &ask); err != nil {
			return err
		}
		d.tellTime(s.Tenant, s.Device, ask)
	}
	return nil
}

func (g *Gateway) ack(tenant, device string, a protocol.Ack) {
	b, err := protocol.Marshal(&a)
	if err != nil {
		g.log.Error("ack not sent", "error", err)
		return
	}
	g.send(tenant, device, protocol.DownAck, b) // a device that is gone asks again when it is back
}

// unknown disconnects a device that was taken out of the registry while it was connected.
func (g *Gateway) unknown(tenant, device string) {
	if g.link != nil {
		return // an external broker lets in whoever has a certificate; what it sends has no effect
	}
	if s, ok := g.broker.Session(tenant, device); ok {
		s.Close()
	}
}

// says takes the state in which a device presents itself.
func (g *Gateway) says(p place, st protocol.State) {
	g.presence.note(p, seen{online: true, agent: st.Agent, model: st.Model, at: g.now()})
	if g.opts.Presented != nil && st.Model != "" {
		select {
		case g.models <- scoring{p, st.Model}:
		default: // it presents itself again when it connects the next time
		}
	}
}

// scoring is a device and the model that it scores by.
type scoring struct {
	place
	model string
}

// present tells of the devices that have presented themselves.
func (g *Gateway) present(ctx context.Context) {
	for {
		select {
		case s := <-g.models:
			g.opts.Presented(ctx, s.tenant, s.device, s.model)
		case <-ctx.Done():
			return
		}
	}
}

// deliver publishes what waits for devices that have just subscribed.
func (g *Gateway) deliver(ctx context.Context) {
	for {
		var p place
		select {
		case p = <-g.came:
		case <-ctx.Done():
			return
		}
		var home string
		err := g.opts.DB.View(ctx, p.tenant, func(tx store.Tx) (err error) {
			home, err = g.opts.Devices.Home(tx, p.device)
			return err
		})
		if err == nil {
			err = g.commands.Came(ctx, p.tenant, home, p.device)
		}
		if err != nil && ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
			g.log.Warn("waiting commands not published", "tenant", p.tenant, "device", p.device, "error", err)
		}
	}
}

// missed counts telemetry that the observer was too slow for.
type missed struct{ n atomic.Int64 }

func (g *Gateway) observe(c ingest.Committed) {
	select {
	case g.observed <- c:
	default:
		g.missed.n.Add(1)
	}
}

// watch hands committed telemetry to the observer.
func (g *Gateway) watch(ctx context.Context) {
	for {
		select {
		case c := <-g.observed:
			g.opts.Observe(c)
		case <-ctx.Done():
			return
		}
	}
}
