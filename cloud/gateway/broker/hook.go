package broker

import (
	"errors"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// hook is where mochi asks and tells.
type hook struct {
	mqtt.HookBase
	b *Broker
}

func (h *hook) ID() string { return "hearthline" }

func (h *hook) Provides(what byte) bool {
	switch what {
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSubscribed, mqtt.OnUnsubscribed, mqtt.OnPublish:
		return true
	}
	return false
}

// OnConnect decides about a CONNECT: protocol version, who it is, and whether the handler wants it.
func (h *hook) OnConnect(cl *mqtt.Client, pk packets.Packet) error {
	if pk.ProtocolVersion != 4 {
		return h.refuse(cl, packets.ErrUnsupportedProtocolVersion, "protocol", errors.New("only MQTT 3.1.1 is spoken here"))
	}
	c := cl.Net.Conn.(*conn)
	tenant, device, err := h.b.opts.Identify(c.Conn, pk.Connect.ClientIdentifier)
	if err != nil {
		return h.refuse(cl, packets.ErrClientIdentifierNotValid, "identity", err)
	}
	s := newSession(tenant, device, c)
	if err := h.b.opts.Handler.Connected(s); err != nil {
		code := packets.ErrServerUnavailable
		if errors.Is(err, ErrRefused) {
			code = packets.ErrBadUsernameOrPassword // "not authorized" in MQTT 3.1.1
		}
		return h.refuse(cl, code, "registry", err)
	}
	c.session = s
	cl.ID = h.b.name(s)
	cl.Properties.Clean = true       // no session outlives its connection
	cl.Properties.Will = mqtt.Will{} // we see the connection end ourselves
	cl.State.Keepalive = h.keepAlive(pk.Connect.Keepalive)
	h.b.begin(s)
	return nil
}

func (h *hook) keepAlive(asked uint16) uint16 {
	// mochi waits one and a half times the keep-alive.
	most := uint16(min(h.b.opts.MaxKeepAlive/time.Second, 1<<15))
	if asked == 0 || asked > most {
		return most
	}
	return asked
}

func (h *hook) refuse(cl *mqtt.Client, code packets.Code, stage string, why error) error {
	h.b.stats.Refused.Add(1)
	h.b.log.Info("device refused", "stage", stage, "reason", why.Error())
	if cl.Properties.ProtocolVersion == 5 {
		cl.Properties.ProtocolVersion = 4 // CONNACK in a form that any client can read
	}
	h.b.server.SendConnack(cl, code, false, nil) // the client may be gone: nothing more to do about it
	return why
}

func (h *hook) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true } // OnConnect has decided

// OnACLCheck is asked about every topic that a client publishes or subscribes to.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	s := cl.Net.Conn.(*conn).session
	if write {
		if _, ok := s.channel(topic); ok {
			return true
		}
	} else if s.mask(topic) != 0 {
		return true
	}
	h.violation(cl, s, "topic outside its own subtree")
	return false
}

func (h *hook) violation(cl *mqtt.Client, s *Session, why string) {
	h.b.stats.Violations.Add(1)
	h.b.log.Warn("device disconnected", "tenant", s.Tenant, "device", s.Device, "reason", why)
	cl.Stop(packets.ErrNotAuthorized)
}

func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	s := cl.Net.Conn.(*conn).session
	for i, f := range pk.Filters {
		if i < len(codes) && codes[i] < packets.ErrUnspecifiedError.Code {
			s.down.Or(s.mask(f.Filter))
		}
	}
	h.b.opts.Handler.Subscribed(s)
}

func (h *hook) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	s := cl.Net.Conn.(*conn).session
	for _, f := range pk.Filters {
		s.down.And(^s.mask(f.Filter))
	}
}

// OnPublish hands a message to the handler in the goroutine that reads the connection: while it waits,
// this client is not read, and its TCP window closes.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	s := cl.Net.Conn.(*conn).session
	c, ok := s.channel(pk.TopicName)
	if !ok {
		return pk, packets.CodeSuccessIgnore // refused by OnACLCheck before
	}
	if err := h.b.opts.Handler.Publish(s, c, pk.Payload); err != nil {
		h.violation(cl, s, err.Error())
	}
	return pk, packets.CodeSuccessIgnore // nothing is routed or retained
}
