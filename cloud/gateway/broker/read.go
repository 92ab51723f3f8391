package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Sizes of the read buffer, in bytes: small while little comes, large enough for a window of records when
// much does, as large as the packet when one is larger.
const (
	minRead = 512
	maxRead = 16 << 10
)

// Kinds of packets in the upper half of their first byte (MQTT 3.1.1, table 2.1).
const (
	kindPublish = 3
	puback      = 4 << 4
)

var (
	errMalformed = errors.New("malformed packet")
	errTooLarge  = errors.New("packet is larger than the limit")
	errQoS2      = errors.New("QoS 2 is not spoken here")
)

// Read gives mochi what is not PUBLISH.
func (c *conn) Read(p []byte) (int, error) {
	for c.pass == 0 {
		head, size, err := c.packet()
		if err != nil {
			return 0, err
		}
		if c.session == nil || c.in[0]>>4 != kindPublish {
			c.pass = size
			break
		}
		if err := c.fill(size); err != nil {
			return 0, err
		}
		if err := c.publish(c.in[0], c.in[head:size]); err != nil {
			return 0, c.b.violation(c.session, err)
		}
		c.in = c.in[size:]
	}
	if err := c.fill(1); err != nil {
		return 0, err
	}
	n := copy(p, c.in[:min(len(c.in), c.pass)])
	c.in, c.pass = c.in[n:], c.pass-n
	return n, nil
}

// packet reads the fixed header of the next packet and returns its length and that of the whole packet.
func (c *conn) packet() (head, size int, err error) {
	length := 0
	for head = 1; ; head++ {
		if err := c.fill(head + 1); err != nil {
			return 0, 0, err
		}
		length |= int(c.in[head]&0x7f) << (7 * (head - 1))
		if c.in[head]&0x80 == 0 {
			break
		}
		if head == 4 {
			return 0, 0, errMalformed
		}
	}
	head++
	if size = head + length; size > c.b.opts.MaxPacket {
		return 0, 0, errTooLarge
	}
	return head, size, nil
}

// publish takes one PUBLISH packet: its first byte, and what follows the fixed header.
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
		return errors.New("topic outside its own subtree")
	}
	if err := c.b.opts.Handler.Publish(c.session, ch, rest); err != nil {
		return err
	}
	if qos == 1 {
		c.Write([]byte{puback, 2, id[0], id[1]}) // an error is met by the next read
	}
	return nil
}

// fill reads until n bytes are there.
func (c *conn) fill(n int) error {
	for len(c.in) < n {
		c.makeRoom(n)
		c.rest()
		if c.session != nil {
			c.Conn.SetReadDeadline(time.Now().Add(c.idle))
		}
		was := len(c.in)
		got, err := c.Conn.Read(c.in[was:cap(c.in)])
		c.in = c.in[:was+got]
		c.work()
		if err != nil && len(c.in) < n {
			return err
		}
	}
	return nil
}

// makeRoom moves what is left to the front of the buffer and gives it a size that fits the traffic:
// doubled when the last read filled it, halved when it hardly used it, n at least.
func (c *conn) makeRoom(n int) {
	used := cap(c.room) - (cap(c.in) - len(c.in)) // bytes of the buffer that were filled since it was empty
	size := cap(c.room)
	switch {
	case used == size && size < maxRead:
		size = max(2*size, minRead)
	case used < size/4 || size > maxRead:
		size = max(size/2, minRead)
	}
	if size = max(size, n); size != cap(c.room) {
		c.room = make([]byte, 0, size)
	}
	c.in = append(c.room[:0], c.in...)
}
