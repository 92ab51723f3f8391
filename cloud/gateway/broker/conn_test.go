package broker

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// wire is a connection that notes what is written.
type wire struct {
	net.Conn
	wrote []string
}

func (w *wire) Write(p []byte) (int, error) {
	w.wrote = append(w.wrote, string(p))
	return len(p), nil
}
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
func (w *wire) Close() error                     { return nil }

func TestPubacksOfRecordsGoWithTheAckOfTheirCommitOrAloneAfterAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		c := &conn{Conn: w, soon: true} // the reading goroutine is at work
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if !slices.Equal(w.wrote, want) {
				t.Errorf("%s: wrote %q, want %q", when, w.wrote, want)
			}
			w.wrote = nil
		}
		c.hold([]byte("1"))
		c.hold([]byte("2"))
		c.rest()
		expect("before the commit")
		c.Write([]byte("ack"))
		expect("with the commit", "12ack")

		c.work()
		c.hold([]byte("3"))
		c.rest()
		time.Sleep(holdPuback)
		expect("when no commit comes", "3")

		c.work()
		c.hold([]byte("4"))
		c.Write([]byte("pong"))
		c.hold([]byte("5"))
		c.rest()
		expect("behind what may not wait", "4pong5")

		c.work()
		c.hold([]byte("6"))
		c.Close()
		expect("at the end", "6")
	})
}
