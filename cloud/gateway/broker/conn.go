package broker

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Limits of one connection.
const (
	writeTimeout = 10 * time.Second // a client that takes nothing for so long is gone
	maxPending   = 512 << 10        // bytes waiting to be written; a client that lets more pile up is not reading
	keepBuffer   = 1 << 10          // a larger buffer is given back once it is empty

	// A PUBACK of a record waits so long for the ack of its commit, which says more and comes within it
	// unless the store is slow: both then go in one segment, and wake the device once.
	holdPuback = 100 * time.Millisecond
)

var errSlow = errors.New("client does not read: too much is waiting to be written")

// conn is one connection, served by one goroutine that reads.
//
// Reading, it hands packets on where they lie in its buffer. Writing, it gathers: a client that sends
// twenty records in one segment gets its twenty PUBACKs in one segment too, and the ack of their commit
// with them when that comes within holdPuback. What the reading goroutine writes waits until that goroutine
// is about to read again, and what other goroutines write meanwhile goes along; when nobody is about to
// flush, a goroutine that lives only until the buffer is empty does. So an idle connection costs no writer,
// and a client that does not read blocks nobody but itself.
type conn struct {
	net.Conn
	b       *Broker
	session *Session      // set in CONNECT, by the reading goroutine
	idle    time.Duration // longest silence of the client, once there is a session

	// Of the reading goroutine.
	in   []byte // what has been read and not been taken
	room []byte // in's array from its begin

	mu       sync.Mutex
	pending  []byte
	held     *time.Timer // what is pending may wait until it fires; nil when it may not
	flushing bool        // some goroutine is writing and will take what is pending
	soon     bool        // the reading goroutine is at work and will flush before it reads again
	err      error
}

// Write queues p. It never blocks.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue(p)
	c.release()
	c.kick()
	if c.err != nil {
		return 0, c.err
	}
	return len(p), nil
}

// hold queues p, which may wait for holdPuback.
func (c *conn) hold(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 && c.held == nil {
		c.held = time.AfterFunc(holdPuback, c.overdue)
	}
	c.queue(p)
	c.kick()
}

// overdue ends the wait of what is held.
func (c *conn) overdue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = nil
	c.kick()
}

// release lets go what is held. c.mu is held.
func (c *conn) release() {
	if c.held != nil {
		c.held.Stop()
		c.held = nil
	}
}

// queue adds to what is pending. c.mu is held.
func (c *conn) queue(p []byte) {
	if c.err == nil && len(c.pending)+len(p) > maxPending {
		c.err = errSlow
		c.Conn.Close() // wakes the reading goroutine, which ends the session
	}
	if c.err == nil {
		c.pending = append(c.pending, p...)
	}
}

// kick starts a writer unless somebody will write anyway. c.mu is held.
func (c *conn) kick() {
	if !c.soon && c.due() {
		c.flushing = true
		go c.flush()
	}
}

// due says that something is to be written and nobody does. c.mu is held.
func (c *conn) due() bool {
	return len(c.pending) > 0 && c.held == nil && !c.flushing && c.err == nil
}

// flush writes until nothing is pending. The caller has set c.flushing.
func (c *conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	var empty []byte
	for c.err == nil && len(c.pending) > 0 {
		out := c.pending
		c.pending = empty
		c.release()
		c.mu.Unlock()
		c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
		_, err := c.Conn.Write(out)
		c.mu.Lock()
		if err != nil {
			c.err = err
			c.Conn.Close()
		}
		if empty = out[:0]; cap(out) > keepBuffer {
			empty = nil
		}
	}
	if c.pending == nil {
		c.pending = empty
	}
	c.flushing = false
}

// rest is called by the reading goroutine before it waits for anything: from now on others flush.
func (c *conn) rest() {
	c.mu.Lock()
	c.soon = false
	mine := c.due()
	c.flushing = c.flushing || mine
	c.mu.Unlock()
	if mine {
		c.flush()
	}
}

// work is called by the reading goroutine when it goes on.
func (c *conn) work() {
	c.mu.Lock()
	c.soon = true
	c.mu.Unlock()
}

// Close writes what is pending, such as the reason of a refusal, and closes.
func (c *conn) Close() error {
	c.mu.Lock()
	c.soon = false
	c.release()
	mine := c.due()
	c.flushing = c.flushing || mine
	c.mu.Unlock()
	if mine {
		c.flush()
	}
	c.mu.Lock()
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.mu.Unlock()
	return c.Conn.Close()
}
