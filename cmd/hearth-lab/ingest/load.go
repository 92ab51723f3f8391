package ingest

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// load is a fleet of devices that speak just enough MQTT over bare sockets to keep a window of records
// unacknowledged: lean, so that it is never what is measured.
type load struct {
	addr    string
	devices []device
	window  int
}

type device struct {
	id  string
	tls *tls.Config // nil: plain
}

// result is what the devices saw.
type result struct {
	Records int64         // acknowledged end to end within the measured time
	P50     time.Duration // from sending a record to the ack that covers it
	P99     time.Duration
	CPU     time.Duration // of the devices, warming up included
}

// run keeps the load up for warm and then measures for span.
func (l *load) run(ctx context.Context, warm, span time.Duration) (result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hubs := make([]*hub, len(l.devices))
	errs := make(chan error, len(hubs))
	gate := make(chan struct{}, 16)
	for i, d := range l.devices {
		go func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			var err error
			hubs[i], err = dial(ctx, l.addr, d, l.window)
			errs <- err
		}()
	}
	for range hubs {
		if err := <-errs; err != nil {
			return result{}, err
		}
	}
	idle, err := cpuTime()
	if err != nil {
		return result{}, err
	}
	var wg sync.WaitGroup
	begin := time.Now().Add(warm)
	for _, h := range hubs {
		wg.Go(func() { errs <- h.drive(begin, begin.Add(span)) })
	}
	timer := time.NewTimer(warm + span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = ctx.Err()
	case err = <-errs:
		err = fmt.Errorf("a device stopped early: %w", err)
	}
	for _, h := range hubs {
		h.Close()
	}
	wg.Wait()
	if err != nil {
		return result{}, err
	}
	busy, err := cpuTime()
	if err != nil {
		return result{}, err
	}
	out := result{CPU: busy - idle}
	var took []uint32
	for _, h := range hubs {
		out.Records += int64(len(h.took))
		took = append(took, h.took...)
	}
	if len(took) == 0 {
		return out, fmt.Errorf("nothing was acknowledged within %s", span)
	}
	slices.Sort(took)
	out.P50 = time.Duration(took[len(took)/2]) * time.Microsecond
	out.P99 = time.Duration(took[len(took)*99/100]) * time.Microsecond
	return out, nil
}

// cpuTime is the processor time that this process has used.
func cpuTime() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// hub is one device's connection.
type hub struct {
	net.Conn
	r       *bufio.Reader
	packet  []byte // a PUBLISH of one record
	idAt    int    // where its packet id is
	firstAt int    // where its sequence is, eight bytes
	window  int
	sent    []time.Time // of the records in flight, by sequence modulo window
	took    []uint32    // microseconds, one for each record acknowledged in the measured time
}

func dial(ctx context.Context, addr string, d device, window int) (*hub, error) {
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	if d.tls != nil {
		t := tls.Client(c, d.tls)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("handshake: %w", err)
		}
		c = t
	}
	h := &hub{Conn: c, r: bufio.NewReaderSize(c, 4<<10), window: window, sent: make([]time.Time, window)}
	if err := h.template(d.id); err != nil {
		return nil, err
	}
	connect := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60}, text(d.id)...)
	filter := append(append([]byte{0, 1}, text(protocol.DownFilter(Tenant, d.id))...), 0)
	c.SetDeadline(time.Now().Add(10 * time.Second))
	for _, step := range []struct {
		send byte
		body []byte
		want byte
	}{{0x10, connect, 0x20}, {0x82, filter, 0x90}} {
		if _, err := c.Write(pack(step.send, step.body)); err != nil {
			return nil, err
		}
		kind, body, err := h.read()
		if err != nil || kind != step.want || body[len(body)-1] > 2 {
			return nil, fmt.Errorf("broker answered %x %x to %x: %v", kind, body, step.send, err)
		}
	}
	c.SetDeadline(time.Time{})
	return h, nil
}

// template makes the PUBLISH packet that is sent again and again with another id and sequence.
func (h *hub) template(id string) error {
	const marker = 0x0123456789abcdef
	b := Batch(marker)
	payload, err := protocol.Marshal(&b)
	if err != nil {
		return err
	}
	topic := text(protocol.Topic(Tenant, id, protocol.UpTelemetry))
	body := append(append(topic, 0, 0), payload...)
	h.packet = pack(0x32, body)
	h.idAt = len(h.packet) - len(payload) - 2
	for i := h.idAt; i+8 <= len(h.packet); i++ {
		if binary.BigEndian.Uint64(h.packet[i:]) == marker {
			h.firstAt = i
			return nil
		}
	}
	return fmt.Errorf("no sequence in the encoded batch")
}

func pack(header byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{header}, uint64(len(body))), body...)
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func (h *hub) read() (kind byte, body []byte, err error) {
	if kind, err = h.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(h.r)
	if err != nil {
		return 0, nil, err
	}
	body, err = h.r.Peek(int(n)) // valid until the next read
	if err == nil {
		_, err = h.r.Discard(int(n))
	}
	return kind, body, err
}

// drive keeps the window full until the connection is closed.
func (h *hub) drive(begin, end time.Time) error {
	var next, acked uint64 = 1, 0
	var out []byte
	for {
		out = out[:0]
		now := time.Now()
		for ; next <= acked+uint64(h.window); next++ {
			at := len(out)
			out = append(out, h.packet...)
			binary.BigEndian.PutUint16(out[at+h.idAt:], uint16(next%65535)+1)
			binary.BigEndian.PutUint64(out[at+h.firstAt:], next)
			h.sent[next%uint64(h.window)] = now
		}
		if len(out) > 0 {
			if _, err := h.Write(out); err != nil {
				return err
			}
		}
		kind, body, err := h.read()
		for err == nil && kind>>4 != 3 { // PUBACK says received, which is not what we wait for
			kind, body, err = h.read()
		}
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		topic := int(binary.BigEndian.Uint16(body))
		var a protocol.Ack
		if err := protocol.Unmarshal(body[2+topic:], &a); err != nil {
			return err
		}
		now = time.Now()
		for ; acked < a.Committed; acked++ {
			if now.After(begin) && now.Before(end) {
				h.took = append(h.took, uint32(now.Sub(h.sent[(acked+1)%uint64(h.window)]).Microseconds()))
			}
		}
	}
}
