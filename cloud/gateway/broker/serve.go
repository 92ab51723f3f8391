package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Return codes of CONNACK (MQTT 3.1.1, table 3.1).
const (
	accepted      = 0
	badVersion    = 1
	badClientID   = 2
	unavailable   = 3
	notAuthorized = 5
)

var (
	errMalformed = errors.New("malformed packet")
	errTooLarge  = errors.New("packet is larger than the limit")
	errQoS2      = errors.New("QoS 2 is not spoken here")
	errOutside   = errors.New("topic outside its own subtree")
	errGoodbye   = errors.New("the client said goodbye")
)

// serve speaks with the client until one of them ends it, and returns why.
func (c *conn) serve() error {
	first, body, err := c.packet()
	if err != nil {
		return err
	}
	if err := c.connect(first, body); err != nil {
		return err
	}
	for {
		if first, body, err = c.packet(); err != nil {
			return err
		}
		if err := c.take(first, body); err == errGoodbye {
			return err
		} else if err != nil {
			return c.b.violation(c.session, err)
		}
	}
}

// connect takes CONNECT and begins the session, or says why not.
func (c *conn) connect(first byte, body []byte) error {
	if first != packets.Connect<<4 || len(body) < 2 {
		return c.refuse(0, "protocol", errors.New("CONNECT must come first"))
	}
	if level := 2 + int(binary.BigEndian.Uint16(body)); level >= len(body) || body[level] != 4 {
		return c.refuse(badVersion, "protocol", errors.New("only MQTT 3.1.1 is spoken here"))
	}
	var pk packets.Packet
	if err := pk.ConnectDecode(bytes.Clone(body)); err != nil { // what it decodes lies in the buffer
		return c.refuse(0, "protocol", err)
	}
	if code := pk.ConnectValidate(); code != packets.CodeSuccess {
		return c.refuse(0, "protocol", code)
	}
	if pk.Connect.WillQos > 1 {
		return c.refuse(0, "protocol", errQoS2)
	}
	if int(c.b.stats.Connected.Load()) >= c.b.opts.MaxClients {
		return c.refuse(unavailable, "limit", fmt.Errorf("%d devices are connected", c.b.opts.MaxClients))
	}
	tenant, device, err := c.b.opts.Identify(c.Conn, pk.Connect.ClientIdentifier)
	if err != nil {
		return c.refuse(badClientID, "identity", err)
	}
	s := newSession(tenant, device, c)
	if err := c.b.opts.Handler.Connected(s); errors.Is(err, ErrRefused) {
		return c.refuse(notAuthorized, "registry", err)
	} else if err != nil {
		return c.refuse(unavailable, "registry", err)
	}
	c.session, c.idle = s, c.b.opts.idle(pk.Connect.Keepalive)
	c.b.begin(s) // its last will is not kept: we see the connection end ourselves
	c.Write([]byte{packets.Connack << 4, 2, 0, accepted})
	return nil
}

// refuse counts and logs why a connection ends before its session begins, and tells the client when there
// is a code for it.
func (c *conn) refuse(code byte, stage string, why error) error {
	c.b.stats.Refused.Add(1)
	c.b.log.Info("device refused", "stage", stage, "reason", why.Error())
	if code != 0 {
		c.Write([]byte{packets.Connack << 4, 2, 0, code}) // the client may be gone: nothing more to do about it
	}
	return why
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

// take does what one packet asks for. Errors of Write are met by the next read.
func (c *conn) take(first byte, body []byte) error {
	switch {
	case first>>4 == packets.Publish:
		return c.publish(first, body)
	case first == packets.Pingreq<<4:
		c.Write([]byte{packets.Pingresp << 4, 0})
		return nil
	case first == packets.Subscribe<<4|2:
		return c.subscribe(body)
	case first == packets.Unsubscribe<<4|2:
		return c.unsubscribe(body)
	case first == packets.Puback<<4: // nothing of ours waits for one
		return nil
	case first == packets.Disconnect<<4:
		return errGoodbye
	}
	return fmt.Errorf("%w: unexpected %#x", errMalformed, first)
}

func (c *conn) publish(first byte, body []byte) error {
	qos := first >> 1 & 3
	if qos > 1 {
		return errQoS2
	}
	if len(body) < 2 {
		return errMalformed
	}
	topic, rest := int(binary.BigEndian.Uint16(body)), body[2:]
	var id []byte
	if len(rest) < topic+2*int(qos) {
		return errMalformed
	}
	name, rest := rest[:topic], rest[topic:]
	if qos == 1 {
		id, rest = rest[:2], rest[2:]
		if id[0]|id[1] == 0 {
			return fmt.Errorf("%w: packet id 0", errMalformed)
		}
	}
	ch, ok := c.session.channel(name)
	if !ok {
		return errOutside
	}
	if err := c.b.opts.Handler.Publish(c.session, ch, rest); err != nil {
		return err
	}
	if qos == 0 {
		return nil
	}
	puback := [...]byte{packets.Puback << 4, 2, id[0], id[1]}
	if _, ok := ch.Lane(); ok {
		c.hold(puback[:])
	} else {
		c.Write(puback[:])
	}
	return nil
}

func (c *conn) subscribe(body []byte) error {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1}}
	if err := pk.SubscribeDecode(body); err != nil {
		return err
	}
	if code := pk.SubscribeValidate(); code != packets.CodeSuccess {
		return code
	}
	answer := binary.AppendUvarint([]byte{packets.Suback << 4}, uint64(2+len(pk.Filters)))
	answer = binary.BigEndian.AppendUint16(answer, pk.PacketID)
	for _, f := range pk.Filters {
		mask := c.session.mask(f.Filter)
		if mask == 0 {
			return errOutside
		}
		c.session.down.Or(mask)
		answer = append(answer, min(f.Qos, 1))
	}
	c.Write(answer)
	c.b.opts.Handler.Subscribed(c.session)
	return nil
}

func (c *conn) unsubscribe(body []byte) error {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Qos: 1}}
	if err := pk.UnsubscribeDecode(body); err != nil {
		return err
	}
	if code := pk.UnsubscribeValidate(); code != packets.CodeSuccess {
		return code
	}
	for _, f := range pk.Filters {
		c.session.down.And(^c.session.mask(f.Filter))
	}
	c.Write(binary.BigEndian.AppendUint16([]byte{packets.Unsuback << 4, 2}, pk.PacketID))
	return nil
}
