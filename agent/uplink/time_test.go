package uplink_test

import (
	"testing"
	"time"

	"github.com/hearthline/hearthline/agent/agenttest"
	"github.com/hearthline/hearthline/agent/uplink"
	"github.com/hearthline/hearthline/protocol"
)

// timed is a rig that knows who may tell it the time. Its commands arrive here, and what became of answers.
func timed(t *testing.T) (r *rig, ca *agenttest.CA, commands chan string, answers chan error) {
	ca = agenttest.NewCA(t)
	id := ca.Identity(t, "hub-1", "")
	commands, answers = make(chan string, 10), make(chan error, 10)
	r = newRig(t, agenttest.Mochi, func(o *uplink.Options) {
		o.OnCommand = func(b []byte) { commands <- string(b) }
		o.OnTime = func(b []byte) error {
			err := o.Clock.Answer(id, b)
			answers <- err
			return err
		}
	})
	r.recorded(1)
	return r, ca, commands, answers
}

// recorded makes an event, the n-th, and waits until the device knows that it is committed: what the cloud had
// sent before has then come, too.
func (r *rig) recorded(n uint64) {
	r.t.Helper()
	r.events(1)
	for a := range r.acked {
		if a[1] >= n {
			return
		}
	}
}

func (r *rig) asked(n int) {
	r.t.Helper()
	r.cloud.Await("the question what time it is", func(c *agenttest.Cloud) bool { return len(c.Asked()) >= n })
}

func TestWithoutAnOfferTheTimeIsNotAskedForAndCommandsDoNotWait(t *testing.T) {
	r, _, commands, _ := timed(t)
	r.cloud.Publish(protocol.DownCommand, []byte("c"))
	if c := <-commands; c != "c" {
		t.Error(c)
	}
	r.recorded(2)
	r.cloud.Await("nothing", func(c *agenttest.Cloud) bool {
		if n := len(c.Asked()); n != 0 {
			t.Errorf("asked %d times: a cloud that knows no such question would close the connection", n)
		}
		return true
	})
}

func TestCommandsWaitForTheTimeInTheirOrder(t *testing.T) {
	r, ca, commands, answers := timed(t)
	for range 3 { // by three instances of the cloud
		r.cloud.Publish(protocol.DownTime, nil)
	}
	r.asked(1)
	r.cloud.Publish(protocol.DownCommand, []byte("first"))
	r.cloud.Publish(protocol.DownCommand, []byte("second"))
	r.cloud.Publish(protocol.DownCommand, make([]byte, 65<<10)) // finds no room
	r.recorded(2)
	select {
	case c := <-commands:
		t.Fatalf("%q did not wait", c)
	default:
	}
	var nonce []byte
	r.cloud.Await("one question", func(c *agenttest.Cloud) bool {
		if len(c.Asked()) != 1 {
			t.Errorf("%d questions to offers on one connection", len(c.Asked()))
		}
		nonce = c.Asked()[0].Nonce
		return true
	})
	r.cloud.Publish(protocol.DownTime, ca.Time(t, "hub-1", nonce, time.Now()))
	if err := <-answers; err != nil {
		t.Error(err)
	}
	r.cloud.Publish(protocol.DownCommand, []byte("third"))
	for _, want := range []string{"first", "second", "third"} {
		if c := <-commands; c != want {
			t.Errorf("got %q, want %q", c, want)
		}
	}
	// The next connection need not ask: the time is known for another while.
	r.net.Cut()
	r.cloud.Await("connected again", func(c *agenttest.Cloud) bool { return len(c.States()) >= 3 })
	r.cloud.Publish(protocol.DownTime, nil)
	r.cloud.Publish(protocol.DownCommand, []byte("fourth"))
	if c := <-commands; c != "fourth" {
		t.Error(c)
	}
	r.recorded(3)
	r.cloud.Await("no question", func(c *agenttest.Cloud) bool {
		if len(c.Asked()) != 1 {
			t.Errorf("asked %d times within a minute", len(c.Asked()))
		}
		return true
	})
}

func TestCommandsDoNotWaitForeverForAnAnswerThatDoesNotCount(t *testing.T) {
	t.Parallel() // it takes as long as an answer may
	r, _, commands, answers := timed(t)
	r.cloud.Publish(protocol.DownTime, nil)
	r.asked(1)
	r.cloud.Publish(protocol.DownCommand, []byte("c"))
	r.cloud.Publish(protocol.DownTime, []byte("forged"))
	if <-answers == nil {
		t.Error("accepted")
	}
	begin := time.Now()
	if c := <-commands; c != "c" || time.Since(begin) < 5*time.Second {
		t.Errorf("%q after %s", c, time.Since(begin))
	}
	r.net.Cut()
	r.cloud.Await("connected again", func(c *agenttest.Cloud) bool { return len(c.States()) >= 3 })
	r.cloud.Publish(protocol.DownTime, nil)
	r.asked(2) // at once
}
