package uplink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// pingTimeout is how long the broker may take to answer a ping.
const pingTimeout = 10 * time.Second

var errNoPong = errors.New("the broker does not answer a ping")

// keptConn is a connection to the broker that the uplink itself keeps alive (MQTT 3.1.1, 3.1.2.10). paho is told
// that there is no keep-alive, else it would look every five seconds whether a ping is due: two of three times
// that a hub at rest wakes. The broker is told, in the CONNECT as it passes.
//
// paho reads and writes it, each in one goroutine; keep is called from a third.
type keptConn struct {
	net.Conn
	every     time.Duration
	start     time.Time
	connected bool         // the CONNECT has passed; only paho's first writer looks
	sent      atomic.Int64 // when something was last sent and heard, since start
	heard     atomic.Int64
	pinged    time.Duration // when a ping was sent that waits for its answer; 0: none does
}

func newKeptConn(c net.Conn, every time.Duration) *keptConn {
	return &keptConn{Conn: c, every: every, start: time.Now()}
}

func (c *keptConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(int64(time.Since(c.start)))
	}
	return n, err
}

func (c *keptConn) Write(b []byte) (int, error) {
	if !c.connected {
		c.connected = true
		withKeepAlive, err := announce(b, c.every)
		if err != nil {
			return 0, err
		}
		b = withKeepAlive
	}
	n, err := c.Conn.Write(b)
	c.sent.Store(int64(time.Since(c.start)))
	return n, err
}

// keep pings the broker when nothing was sent or nothing was heard for long enough, and returns when it wants
// to be called again, or errNoPong.
func (c *keptConn) keep() (next time.Duration, err error) {
	now := time.Since(c.start)
	heard := time.Duration(c.heard.Load())
	if c.pinged > 0 && heard < c.pinged {
		if wait := c.pinged + min(pingTimeout, c.every) - now; wait > 0 {
			return wait, nil
		}
		_ = c.Conn.Close() // before paho says goodbye: the broker would drop our last will
		return 0, errNoPong
	}
	c.pinged = 0
	if due := min(heard, time.Duration(c.sent.Load())) + c.every; now < due {
		return due - now, nil
	}
	stuck := time.AfterFunc(pingTimeout, func() { _ = c.Conn.Close() }) // ends the write
	defer stuck.Stop()
	if _, err := c.Write([]byte{0xC0, 0}); err != nil { // PINGREQ
		return 0, fmt.Errorf("ping: %w", err)
	}
	c.pinged = now
	return min(pingTimeout, c.every), nil
}

// announce returns the CONNECT packet with a keep-alive, in whole seconds as MQTT has it, rounded up.
func announce(packet []byte, every time.Duration) ([]byte, error) {
	_, n := binary.Uvarint(packet[min(1, len(packet)):]) // the remaining length has the same form
	at := 1 + n + 8                                      // after the protocol's name, its level and the flags
	if n <= 0 || len(packet) < at+2 || packet[0] != 0x10 || string(packet[1+n:at-1]) != "\x00\x04MQTT\x04" {
		return nil, errors.New("the first packet is no CONNECT of MQTT 3.1.1")
	}
	seconds := min((every+time.Second-1)/time.Second, 65535)
	packet = append([]byte(nil), packet...)
	binary.BigEndian.PutUint16(packet[at:], uint16(seconds))
	return packet, nil
}
