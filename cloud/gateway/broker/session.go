package broker

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/hearthline/hearthline/protocol"
)

// Session is one connection of a device, from an accepted CONNECT until it is gone.
type Session struct {
	Tenant, Device string

	conn *conn
	key  string // "tenant/device"
	up   [5]string
	down atomic.Uint32 // bit per down channel that the device has subscribed to
}

// upChannels and downChannels give each channel its place in Session.up and Session.down.
var (
	upChannels   = [5]protocol.Channel{protocol.UpEvent, protocol.UpTelemetry, protocol.UpAssist, protocol.UpState, protocol.UpTime}
	downChannels = [5]protocol.Channel{protocol.DownAck, protocol.DownCommand, protocol.DownAssist, protocol.DownModel, protocol.DownTime}
)

func newSession(tenant, device string, c *conn) *Session {
	s := &Session{Tenant: tenant, Device: device, conn: c, key: tenant + "/" + device}
	for i, ch := range upChannels {
		s.up[i] = protocol.Topic(tenant, device, ch)
	}
	return s
}

// channel returns the up channel of a topic of the device's own; ok is false for any other topic.
func (s *Session) channel(topic []byte) (c protocol.Channel, ok bool) {
	for i := range s.up {
		if string(topic) == s.up[i] {
			return upChannels[i], true
		}
	}
	return "", false
}

// mask returns the down channels that a filter of the device's own asks for, as bits; 0 when the filter
// reaches beyond them.
func (s *Session) mask(filter string) (bits uint32) {
	all := protocol.DownFilter(s.Tenant, s.Device)
	for i, ch := range downChannels {
		if filter == all || filter == protocol.Topic(s.Tenant, s.Device, ch) {
			bits |= 1 << i
		}
	}
	return bits
}

// Send queues a message on a down channel. It never blocks: a device that does not read is disconnected.
// It returns false when the device has not subscribed or is gone.
//
// Messages go at QoS 0. Each down channel has an acknowledgement of its own that means more than PUBACK
// (a command is answered by an event, an ack by the next batch), and without packet ids of ours a device
// cannot delete an outstanding command by using the same id for a publish of its own.
func (s *Session) Send(c protocol.Channel, payload []byte) bool {
	for i, ch := range downChannels {
		if ch == c && s.down.Load()&(1<<i) == 0 {
			return false
		}
	}
	topic := protocol.Topic(s.Tenant, s.Device, c)
	b := make([]byte, 0, 7+len(topic)+len(payload))
	b = append(b, 3<<4) // PUBLISH, QoS 0, not retained
	b = binary.AppendUvarint(b, uint64(2+len(topic)+len(payload)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(append(b, topic...), payload...)
	_, err := s.conn.Write(b)
	return err == nil
}

// Busy tells the session that the calling handler is about to wait, so that what is queued for the device
// is written meanwhile. Ready ends it. Only Handler.Publish may call them.
func (s *Session) Busy() { s.conn.rest() }

// Ready ends Busy.
func (s *Session) Ready() { s.conn.work() }

// Close disconnects the device.
func (s *Session) Close() { s.conn.Close() }
