package broker

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// FuzzTheFrontDoor sends arbitrary bytes after a good CONNECT, or instead of one. Whatever they are, the
// broker neither panics nor keeps the connection after its end, and no message passes that is not on the
// device's own topics.
func FuzzTheFrontDoor(f *testing.F) {
	f.Add(true, publish(1, "hl/1/acme/hub1/up/event", "x"))
	f.Add(true, subscribe(1, "hl/1/acme/hub1/down/+"))
	f.Add(true, pack(0x82, []byte{0, 1, 0, 9, 'a'}))
	f.Add(true, pack(0xa2, append([]byte{0, 1}, text("#")...)))
	f.Add(true, pack(0x62, []byte{0, 1}))
	f.Add(false, connect(5, "hub1", 60))
	f.Add(false, append(connect(5, "hub1", 60), pack(0x82, []byte{0, 1, 0})...))
	f.Add(false, connect(3, "hub1", 0))
	f.Add(true, []byte(strings.Repeat("\xc0\x00", 50)))
	b, err := New(Options{Handler: quiet{f}, Identify: byClientID, MaxPacket: 4 << 10})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, first bool, data []byte) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, near)
		b.conns.Add(1)
		go b.handle(context.Background(), far)
		near.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if first {
			near.Write(connect(4, "hub1", 60))
		}
		near.Write(data) // fails when the broker has closed: fine
		near.Close()
		b.conns.Wait()
		if n := b.Stats().Panics.Load(); n != 0 {
			t.Fatalf("%d panics", n)
		}
		if n := b.Stats().Connected.Load(); n != 0 {
			t.Fatalf("%d sessions left", n)
		}
	})
}

type quiet struct{ f *testing.F }

func (quiet) Connected(*Session) error    { return nil }
func (quiet) Subscribed(*Session)         {}
func (quiet) Disconnected(*Session, bool) {}
func (q quiet) Publish(s *Session, c protocol.Channel, _ []byte) error {
	if s.Device != "hub1" || !c.Up() {
		q.f.Errorf("message of %s on %s", s.Device, c)
	}
	return nil
}
