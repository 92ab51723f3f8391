package broker

import "time"

// Sizes of the read buffer, in bytes: small while little comes, large enough for a window of records when
// much does, as large as the packet when one is larger.
const (
	minRead = 512
	maxRead = 16 << 10
)

// packet returns the next packet: its first byte, and what follows the fixed header, valid until the next
// call.
func (c *conn) packet() (first byte, body []byte, err error) {
	length := 0
	head := 1
	for more := true; more; head++ {
		if err := c.fill(head + 1); err != nil {
			return 0, nil, err
		}
		length |= int(c.in[head]&0x7f) << (7 * (head - 1))
		if more = c.in[head]&0x80 != 0; more && head == 4 {
			return 0, nil, errMalformed
		}
	}
	size := head + length
	if size > c.b.opts.MaxPacket {
		return 0, nil, errTooLarge
	}
	if err := c.fill(size); err != nil {
		return 0, nil, err
	}
	first, body, c.in = c.in[0], c.in[head:size], c.in[size:]
	return first, body, nil
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
