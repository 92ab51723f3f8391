package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hearthline/hearthline/protocol"
	"golang.org/x/sys/unix"
)

// Clock stamps records, and knows the time by which commands are judged. Its monotonic time starts at zero
// when the agent starts and never jumps; its wall time is whatever the device believes, which may be wrong
// by years. So the cloud is asked what time it is (see protocol.Time), and from its answer on the time is
// counted by a clock that nobody sets. It is safe for concurrent use.
type Clock struct {
	start  time.Time
	uptime func() time.Duration // goes on while the device sleeps, which Mono does not

	mu    sync.Mutex
	nonce []byte        // of the open question; nil: none
	asked time.Duration // when it was, by uptime
	zero  time.Time     // when uptime was zero, by the cloud's newest answer; the zero Time: there is none
	known time.Duration // when it was asked for that answer
}

const (
	// answerIn is how long an answer may take: the time that it tells is ahead by no more than that.
	answerIn = 10 * time.Second
	// knownFor is how long an answer counts. Quartz may be off by 200 ppm, so by 17 s at its end. The uplink
	// asks much more often.
	knownFor = 24 * time.Hour
)

// NewClock returns a clock that starts now.
func NewClock() *Clock { return &Clock{start: time.Now(), uptime: uptime} }

// uptime is the time since the kernel started, asleep or awake.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // Linux has it since 2.6.39, Go wants a newer one
	}
	return time.Duration(t.Nano())
}

// Mono is the time since the start of the agent in milliseconds.
func (c *Clock) Mono() int64 { return time.Since(c.start).Milliseconds() }

// Wall is the device's idea of the time in milliseconds since 1970.
func (c *Clock) Wall() int64 { return time.Now().UnixMilli() }

// Now is the time by which commands and sessions begin and end: as the cloud told it, while that is known,
// else id.Now.
func (c *Clock) Now(id *Identity) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if up := c.uptime(); c.knows(up) {
		return c.zero.Add(up)
	}
	return id.Now()
}

func (c *Clock) knows(up time.Duration) bool { return !c.zero.IsZero() && up-c.known < knownFor }

// Ask opens a question, in place of one that may be open, and returns its nonce.
func (c *Clock) Ask() (nonce []byte) {
	nonce = make([]byte, protocol.TimeNonce)
	rand.Read(nonce) // never fails
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nonce, c.asked = nonce, c.uptime()
	return nonce
}

// Asking is how long the answer to an open question may still take while the time is not known; else 0.
func (c *Clock) Asking() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nonce == nil {
		return 0
	}
	up := c.uptime()
	if c.knows(up) {
		return 0
	}
	return max(answerIn-(up-c.asked), 0)
}

// Answer takes a signed protocol.Time. One that is not by the cloud, for this device, for the open question
// and in time is an error and changes nothing.
func (c *Clock) Answer(id *Identity, signed []byte) error {
	payload, err := protocol.Verify(protocol.PurposeTime, signed, id.CommandKeys)
	if err != nil {
		return err
	}
	var t protocol.Time
	if err := protocol.Unmarshal(payload, &t); err != nil {
		return err
	}
	if t.Tenant != id.Tenant || t.Device != id.Device {
		return errors.New("the time was told to another device")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nonce == nil || !bytes.Equal(t.Nonce, c.nonce) {
		return errors.New("the time was told to another question")
	}
	if took := c.uptime() - c.asked; took > answerIn {
		return fmt.Errorf("the time was told after %s, want %s", took, answerIn)
	}
	c.zero, c.known, c.nonce = time.UnixMilli(t.Now).Add(-c.asked), c.asked, nil
	return nil
}
