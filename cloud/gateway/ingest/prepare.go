package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// Message is one publish of a device on an up lane.
type Message struct {
	Tenant, Device string
	Lane           protocol.Lane
	Payload        []byte // not kept
	Received       time.Time
	Done           func() // called once the message needs no more work: committed, or of no use; may be nil
}

// batch is a decoded message. Everything that can be found wrong without the store has been.
type batch struct {
	lane               protocol.Lane
	epoch, boot        uint64
	sentMono, sentWall int64
	received           time.Time
	records            []record
	size               int
	done               func()
}

type record struct {
	at         span
	boot       uint64
	mono, wall int64
	kind       protocol.Kind
	event      *protocol.Event  // of KindEvent
	schema     *protocol.Schema // of KindSchema
	gap        *protocol.Gap    // of KindGap
	block      block            // of KindBlock
	bad        string           // why it is set aside, if it is
	mute       bool             // set aside without an entry
}

// block is what is asked of a protocol.Block before it is read: when its first row was taken.
type block struct {
	mono, wall int64
	body       []byte // all of it, as it came
}

// desk is where messages are decoded, one after the other. Its memory is used again, but for what the
// bodies of blocks were copied to: that is given up chunk by chunk, when none of its blocks is needed.
type desk struct {
	in    protocol.Batch
	block protocol.Block
	room  []byte // what is left of the chunk
}

const (
	chunk    = 32 << 10
	maxSpare = 64 // records of a batch, and batches of a line, whose memory is used again
)

// keep returns a copy of a body.
func (d *desk) keep(body []byte) []byte {
	n := len(body)
	if n > chunk/8 {
		return bytes.Clone(body)
	}
	if n > len(d.room) {
		d.room = make([]byte, chunk)
	}
	out := d.room[:n:n]
	d.room = d.room[n:]
	copy(out, body)
	return out
}

// spare is memory that is used again. The zero value is ready and it is safe for concurrent use.
type spare struct{ desks, batches sync.Pool }

func (s *spare) desk() *desk {
	if d, ok := s.desks.Get().(*desk); ok {
		return d
	}
	return new(desk)
}

func (s *spare) batch(records int) *batch {
	b, ok := s.batches.Get().(*batch)
	if !ok {
		b = new(batch)
	}
	b.records = slices.Grow(b.records[:0], records)[:records]
	return b
}

// give takes back a batch that nobody refers to.
func (s *spare) give(b *batch) {
	if cap(b.records) <= maxSpare {
		clear(b.records)
		s.batches.Put(b)
	}
}

// ErrMalformed is returned for a message that no working agent sends.
var ErrMalformed = errors.New("malformed batch")

// maxClock bounds clock readings in milliseconds, 35,000 years, so that sums of them cannot overflow.
const maxClock = 1 << 50

// prepare decodes a message once. An error says that the batch itself makes no sense; a record that makes
// none is only marked, so that the others around it get through.
func (s *spare) prepare(m *Message) (*batch, error) {
	d := s.desk()
	defer s.desks.Put(d)
	in := &d.in
	if err := protocol.Unmarshal(m.Payload, in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if in.Epoch > math.MaxInt64 || in.First > math.MaxInt64>>1 || !sane(in.SentMono) || !sane(in.SentWall) {
		return nil, fmt.Errorf("%w: epoch, sequence or clock out of range", ErrMalformed)
	}
	for i := range in.Records {
		if r := &in.Records[i]; !sane(r.Mono) || !sane(r.Wall) {
			return nil, fmt.Errorf("%w: clock of a record out of range", ErrMalformed)
		}
	}
	b := s.batch(len(in.Records))
	b.lane, b.epoch, b.boot, b.sentMono, b.sentWall = m.Lane, in.Epoch, in.Boot, in.SentMono, in.SentWall
	b.received, b.size, b.done = m.Received, len(m.Payload), m.Done
	next := in.First
	for i := range in.Records {
		r := &in.Records[i]
		out := &b.records[i]
		*out = record{at: span{next, next + r.Span}, boot: r.Boot, mono: r.Mono, wall: r.Wall, kind: r.Kind}
		next += r.Span
		if err := out.decode(d, m.Lane, r); err != nil {
			out.bad = err.Error()
		}
	}
	return b, nil
}

func sane(ms int64) bool { return ms > -maxClock && ms < maxClock }

func (r *record) decode(d *desk, lane protocol.Lane, in *protocol.Record) error {
	if (in.Kind == protocol.KindEvent) != (lane == protocol.LaneEvent) && in.Kind != protocol.KindGap {
		return fmt.Errorf("record of kind %d on the %s lane", in.Kind, lane)
	}
	switch in.Kind {
	case protocol.KindEvent:
		r.event = new(protocol.Event)
		if err := protocol.Unmarshal(in.Body, r.event); err != nil {
			return err
		}
		return judge(r.event)
	case protocol.KindSchema:
		r.schema = new(protocol.Schema)
		if err := protocol.Unmarshal(in.Body, r.schema); err != nil {
			return err
		}
		again, err := protocol.NewSchema(r.schema.Metrics)
		if err == nil && again.ID != r.schema.ID {
			err = fmt.Errorf("%w: schema names itself %x, its content is %x", protocol.ErrInvalid, r.schema.ID, again.ID)
		}
		return err
	case protocol.KindBlock:
		err := protocol.Unmarshal(in.Body, &d.block)
		if err == nil && !(sane(d.block.Mono) && sane(d.block.Wall)) {
			err = fmt.Errorf("%w: clock of a block out of range", protocol.ErrInvalid)
		}
		if err == nil {
			r.block = block{d.block.Mono, d.block.Wall, d.keep(in.Body)}
		}
		return err
	default:
		r.gap = new(protocol.Gap)
		err := protocol.Unmarshal(in.Body, r.gap)
		if err == nil && (r.gap.Records != in.Span || !sane(r.gap.From) || !sane(r.gap.To)) {
			err = fmt.Errorf("%w: gap of %d records spans %d", protocol.ErrInvalid, r.gap.Records, in.Span)
		}
		return err
	}
}

// kinds are the entries that a device may write, and subjects are those of which it may write any, so that
// a newer agent can say more. Whatever else it claims (a customer's consent, say) is set aside.
var (
	kinds = map[protocol.EventKind]bool{
		protocol.EventRisk: true, protocol.EventRiskOver: true, protocol.EventDiagnosis: true,
		protocol.EventCommand: true, protocol.EventFixApplied: true, protocol.EventFixVerified: true,
		protocol.EventFixRolledBack: true, protocol.EventFixFailed: true, protocol.EventSessionStarted: true,
		protocol.EventSessionEnded: true, protocol.EventSessionAction: true,
	}
	subjects = map[string]bool{"agent": true, "symptom": true, "outbox": true, "uplink": true}
)

func deviceWrites(k protocol.EventKind) bool {
	subject, verb, _ := strings.Cut(string(k), ".")
	return kinds[k] || subjects[subject] && protocol.CheckID("verb", verb) == nil
}

// judge refuses an event that the timeline cannot hold: a kind that is not a device's to write, and text
// or numbers that no document can carry (NUL, NaN).
func judge(e *protocol.Event) error {
	if !deviceWrites(e.Kind) {
		return fmt.Errorf("%w: a device does not write %q", protocol.ErrInvalid, clip(string(e.Kind)))
	}
	texts := func(args map[string]string) bool {
		for k, v := range args {
			if !plain(k) || !plain(v) {
				return false
			}
		}
		return true
	}
	ok := texts(e.Args)
	for _, v := range e.Evidence {
		ok = ok && plain(v.Metric) && plain(v.Instance) && sane(v.From) && sane(v.To)
	}
	if d := e.Diagnosis; d != nil {
		ok = ok && plain(d.Request.Target) && texts(d.Request.Args) && plain(d.Verdict.Code) && texts(d.Verdict.Args)
		for i := range d.Steps {
			s := &d.Steps[i]
			ok = ok && plain(s.Name) && plain(s.Target) && plain(s.Code) && texts(s.Args)
		}
	}
	if r := e.Risk; r != nil {
		ok = ok && plain(r.Model)
		for _, why := range r.Reasons {
			ok = ok && plain(why.Feature) && plain(why.Instance) && finite(why.Value) && finite(why.Normal) && finite(why.Share)
		}
	}
	if !ok {
		return fmt.Errorf("%w: event %s holds a text with NUL, or a number or time out of range", protocol.ErrInvalid, e.Kind)
	}
	return nil
}

func plain(s string) bool   { return strings.IndexByte(s, 0) < 0 }
func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

func clip(s string) string { return s[:min(len(s), 40)] }
