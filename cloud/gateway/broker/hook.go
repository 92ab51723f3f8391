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
	case mqtt.OnConnect, mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSubscribed, mqtt.OnUnsubscribed:
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
	c.idle = h.b.opts.idle(pk.Connect.Keepalive)
	h.b.begin(s)
	return nil
}

// idle is how long a client with this keep-alive, in seconds, may be silent: one and a half times as long
// (MQTT 3.1.1, section 3.1.2.10), within our limit.
func (o *Options) idle(keepAlive uint16) time.Duration {
	d := time.Duration(keepAlive) * time.Second
	if d == 0 || d > o.MaxKeepAlive {
		d = o.MaxKeepAlive
	}
	return d + d/2
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

// OnACLCheck is asked about every topic filter that a client subscribes to. Publishes do not come this way.
func (h *hook) OnACLCheck(cl *mqtt.Client, filter string, write bool) bool {
	s := cl.Net.Conn.(*conn).session
	if !write && s.mask(filter) != 0 {
		return true
	}
	cl.Stop(h.b.violation(s, errors.New("topic outside its own subtree")))
	return false
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
