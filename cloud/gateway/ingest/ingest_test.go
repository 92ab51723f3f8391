package ingest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a pipeline over a real store.
type rig struct {
	t    *testing.T
	db   *bolt.DB
	p    *Pipeline
	acks chan protocol.Ack
	mu   sync.Mutex
	put  []cloud.Block
	gone []string
}

func (r *rig) Home(_ store.Tx, device string) (string, error) {
	if device == "stranger" {
		return "", store.ErrNotFound
	}
	return "home1", nil
}
func (r *rig) PutSchema(store.Tx, string, string, *protocol.Schema) error { return nil }
func (r *rig) PutBlocks(_ store.Tx, b []cloud.Block) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put = append(r.put, b...)
	return nil
}

func newRig(t *testing.T, rules ...timeline.Rule) *rig {
	t.Helper()
	r := &rig{t: t, acks: make(chan protocol.Ack, 4096)}
	var err error
	r.db, err = bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "store.db"), MapBytes: 64 << 20}, append(Tables(), timeline.Tables()...)...)
	if err != nil {
		t.Fatal(err)
	}
	r.p, err = New(Options{
		DB: r.db, Devices: r, Timeline: timeline.New(nil, rules...), Telemetry: r,
		Ack:     func(_, _ string, a protocol.Ack) { r.acks <- a },
		Unknown: func(_, device string) { r.mu.Lock(); r.gone = append(r.gone, device); r.mu.Unlock() },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.p.Run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		r.db.Close()
	})
	return r
}

// send submits a batch and returns once it needs no more work.
func (r *rig) send(device string, lane protocol.Lane, b *protocol.Batch) error {
	r.t.Helper()
	payload, err := protocol.Marshal(b)
	if err != nil {
		r.t.Fatal(err)
	}
	done := make(chan struct{})
	err = r.p.Submit(context.Background(), Message{
		Tenant: "acme", Device: device, Lane: lane, Payload: payload, Received: time.Now(), Done: func() { close(done) },
	}, nil)
	if err != nil {
		return err
	}
	clear(payload) // the connection reads on into the same memory
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		r.t.Fatal("not committed within 10 s")
	}
	return nil
}

func (r *rig) mustSend(device string, lane protocol.Lane, b *protocol.Batch) (last protocol.Ack) {
	r.t.Helper()
	if err := r.send(device, lane, b); err != nil {
		r.t.Fatal(err)
	}
	for {
		select {
		case last = <-r.acks:
		default:
			return last
		}
	}
}

func (r *rig) entries() []cloud.Entry {
	r.t.Helper()
	var out []cloud.Entry
	err := r.db.View(context.Background(), "acme", func(tx store.Tx) (err error) {
		out, _, err = timeline.Page(tx, "home1", "", 1000)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

func (r *rig) count(kind cloud.Kind) (n int) {
	for _, e := range r.entries() {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func body(t testing.TB, v any) []byte {
	b, err := protocol.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event(t testing.TB, kind protocol.EventKind, args map[string]string) protocol.Record {
	return protocol.Record{Kind: protocol.KindEvent, Boot: 1, Span: 1, Body: body(t, &protocol.Event{Version: 1, Kind: kind, Args: args})}
}

func of(epoch, first uint64, records ...protocol.Record) *protocol.Batch {
	return &protocol.Batch{Version: 1, Epoch: epoch, First: first, Boot: 1, SentMono: 1000, SentWall: time.Now().UnixMilli(), Records: records}
}

func TestEachRecordIsCommittedOnceInAnyOrderAndTheAckIsTheHighestContiguousOne(t *testing.T) {
	r := newRig(t)
	const n = 60
	var order []uint64
	for i := range uint64(n) {
		order = append(order, i+1, i+1) // everything comes twice
	}
	rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	got := map[uint64]bool{}
	for _, seq := range order {
		a := r.mustSend("hub1", protocol.LaneEvent, of(1, seq, event(t, protocol.EventSymptom, map[string]string{"n": fmt.Sprint(seq)})))
		got[seq] = true
		want := uint64(0)
		for got[want+1] {
			want++
		}
		if a.Committed != want || a.Epoch != 1 || a.Lane != protocol.LaneEvent {
			t.Fatalf("after %d came: ack %+v, want %d", seq, a, want)
		}
	}
	if k := r.count("symptom.seen"); k != n {
		t.Errorf("%d entries of %d records", k, n)
	}
	if s := r.p.Stats(); s.Records.Load() != n || s.Repeated.Load() != n {
		t.Errorf("counted %d records and %d repeated", s.Records.Load(), s.Repeated.Load())
	}
}

func TestEpochsAndLanesCountForThemselvesAndAnOldEpochIsStillKnown(t *testing.T) {
	r := newRig(t)
	for _, epoch := range []uint64{3, 4, 3, 9, 4} {
		if a := r.mustSend("hub1", protocol.LaneEvent, of(epoch, 1, event(t, protocol.EventSymptom, nil))); a.Epoch != epoch || a.Committed != 1 {
			t.Fatalf("ack %+v", a)
		}
	}
	if n := r.count("symptom.seen"); n != 3 {
		t.Errorf("%d entries of 3 epochs", n)
	}
}

func TestARecordThatCannotBeUsedIsSetAsideAndTheOthersGetThrough(t *testing.T) {
	garbage := protocol.Record{Kind: protocol.KindEvent, Boot: 1, Span: 1, Body: []byte{0x61, 'x'}}
	version := protocol.Record{Kind: protocol.KindEvent, Boot: 1, Span: 1, Body: body(t, &protocol.Event{Version: 99, Kind: protocol.EventBoot})}
	for _, test := range []struct {
		name string
		bad  protocol.Record
	}{
		{"a body that is no event", garbage},
		{"a message version of the future", version},
		{"an entry that only a customer writes", event(t, "consent.given", nil)},
		{"an entry that only the cloud writes", event(t, "ticket.opened", nil)},
		{"a text with NUL", event(t, protocol.EventBoot, map[string]string{"reason": "a\x00b"})},
		{"a record of the other lane", protocol.Record{Kind: protocol.KindBlock, Boot: 1, Span: 1, Body: []byte{0xa0}}},
		{"a record whose reaction fails", event(t, "symptom.failing", nil)},
		{"a record whose reaction panics", event(t, "symptom.panicking", nil)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t,
				timeline.Rule{On: "symptom.failing", Name: "fails", Do: func(store.Tx, *cloud.Entry) ([]cloud.Entry, error) { return nil, errors.New("no") }},
				timeline.Rule{On: "symptom.panicking", Name: "panics", Do: func(store.Tx, *cloud.Entry) ([]cloud.Entry, error) { panic("no") }},
			)
			good := event(t, protocol.EventSymptom, nil)
			a := r.mustSend("hub1", protocol.LaneEvent, of(1, 1, good, test.bad, good))
			if a.Committed != 3 {
				t.Errorf("ack %+v: the bad record blocks its batch", a)
			}
			if n := r.count("symptom.seen"); n != 2 {
				t.Errorf("%d of the 2 good records are on the timeline", n)
			}
			var aside []cloud.Entry
			for _, e := range r.entries() {
				if e.Kind == cloud.KindRecordSetAside {
					aside = append(aside, e)
				}
			}
			if len(aside) != 1 || aside[0].Args["reason"] == "" || aside[0].ID != protocol.DeviceEntryID("hub1", 1, 2) {
				t.Errorf("set aside: %+v", aside)
			}
			if r.count(cloud.Kind("consent.given"))+r.count("ticket.opened") != 0 {
				t.Error("a device wrote what is not its to write")
			}
		})
	}
}

func TestABatchThatNoAgentSendsIsRefusedWithoutEffect(t *testing.T) {
	r := newRig(t)
	whole := body(t, of(1, 1, event(t, protocol.EventBoot, nil)))
	for name, payload := range map[string][]byte{
		"empty":                 {},
		"truncated":             whole[:len(whole)-1],
		"trailing bytes":        append(slices.Clone(whole), 0),
		"unknown version":       body(t, &protocol.Batch{Version: 2, Epoch: 1, First: 1, Records: []protocol.Record{event(t, protocol.EventBoot, nil)}}),
		"epoch 0":               body(t, of(0, 1, event(t, protocol.EventBoot, nil))),
		"no records":            body(t, of(1, 1)),
		"a sequence beyond all": body(t, of(1, 1<<63, event(t, protocol.EventBoot, nil))),
		"a clock beyond all":    body(t, &protocol.Batch{Version: 1, Epoch: 1, First: 1, SentMono: -1 << 63, Records: []protocol.Record{event(t, protocol.EventBoot, nil)}}),
		"too large":             make([]byte, protocol.MaxMessage+1),
	} {
		err := r.p.Submit(context.Background(), Message{Tenant: "acme", Device: "hub1", Lane: protocol.LaneEvent, Payload: payload, Received: time.Now()}, nil)
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(r.entries()); n != 0 {
		t.Errorf("%d entries", n)
	}
}

func TestAGapIsDeclaredOnlyForWhatDidNotGetHere(t *testing.T) {
	r := newRig(t)
	r.mustSend("hub1", protocol.LaneEvent, of(1, 3, event(t, protocol.EventSymptom, nil)))
	gap := protocol.Record{Kind: protocol.KindGap, Boot: 1, Span: 5, Body: body(t, &protocol.Gap{Records: 5, Reason: "quota"})}
	if a := r.mustSend("hub1", protocol.LaneEvent, of(1, 1, gap)); a.Committed != 5 {
		t.Errorf("ack %+v", a)
	}
	// What the gap stands for comes after all, from a broker that kept it: the gap was declared, so it stays out.
	r.mustSend("hub1", protocol.LaneEvent, of(1, 4, event(t, protocol.EventSymptom, nil)))
	var gaps []cloud.Entry
	for _, e := range r.entries() {
		if e.Kind == cloud.KindTelemetryGap {
			gaps = append(gaps, e)
		}
	}
	if len(gaps) != 1 || gaps[0].Args["records"] != "4" || gaps[0].Args["reason"] != "quota" {
		t.Errorf("gaps %+v", gaps)
	}
	if n := r.count("symptom.seen"); n != 1 {
		t.Errorf("%d symptoms", n)
	}
}

func TestADeviceInNoRegistryIsNotAcknowledgedAndReported(t *testing.T) {
	r := newRig(t)
	if a := r.mustSend("stranger", protocol.LaneEvent, of(1, 1, event(t, protocol.EventBoot, nil))); a.Version != 0 {
		t.Errorf("acknowledged %+v", a)
	}
	if len(r.gone) != 1 || r.p.Stats().Unknown.Load() != 1 {
		t.Errorf("reported %v", r.gone)
	}
}

func TestOneDeviceCannotFillTheQueueForTheOthers(t *testing.T) {
	q := newQueue(100, 1000)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	loud, quiet := place{"acme", "loud"}, place{"acme", "quiet"}
	if err := q.put(ctx, loud, &batch{size: 90}, nil); err != nil {
		t.Fatal(err)
	}
	waited, stuck := make(chan struct{}), make(chan error, 1)
	go func() { stuck <- q.put(ctx, loud, &batch{size: 90}, func() { close(waited) }) }()
	<-waited
	if err := q.put(ctx, quiet, &batch{size: 90}, func() { t.Error("the quiet device had to wait") }); err != nil {
		t.Fatal(err)
	}
	took := q.take(ctx, 1<<20)
	if len(took) != 2 {
		t.Fatalf("took %d portions", len(took))
	}
	select {
	case <-stuck:
		t.Error("room was given back before the commit")
	default:
	}
	for _, p := range took {
		q.settle(p, new(spare))
	}
	if err := <-stuck; err != nil {
		t.Fatal(err)
	}
	for _, p := range q.take(ctx, 1<<20) {
		q.settle(p, new(spare))
	}
	if len(q.lines) != 0 || q.size != 0 {
		t.Errorf("%d lines and %d bytes are left of an empty queue", len(q.lines), q.size)
	}
}

func TestBlocksAreKeptAsTheyCameWhileTheirConnectionReadsOn(t *testing.T) {
	r := newRig(t)
	want := map[uint64][]byte{}
	for first := uint64(1); first < 400; first += 4 {
		var records []protocol.Record
		for i := range uint64(4) {
			b := body(t, &protocol.Block{Version: 1, Codec: protocol.CodecColumns, Rows: 1, Data: []byte(fmt.Sprintf("%0*d", first*i*4, first+i))})
			want[first+i] = b
			records = append(records, protocol.Record{Kind: protocol.KindBlock, Boot: 1, Span: 1, Body: b})
		}
		r.mustSend("hub1", protocol.LaneTelemetry, of(7, first, records...))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.put) != len(want) {
		t.Fatalf("%d blocks, want %d", len(r.put), len(want))
	}
	for _, b := range r.put {
		if string(b.Bytes) != string(want[b.Sequence]) {
			t.Errorf("block %d is kept as %.40x", b.Sequence, b.Bytes)
		}
	}
}

// FuzzPrepare feeds arbitrary payloads to the decoding that every message goes through.
func FuzzPrepare(f *testing.F) {
	f.Add(uint8(1), body(f, of(1, 1, event(f, protocol.EventBoot, map[string]string{"a": "b"}))))
	f.Add(uint8(2), body(f, of(1, 1, protocol.Record{Kind: protocol.KindGap, Span: 5, Body: body(f, &protocol.Gap{Records: 5, Reason: "quota"})})))
	f.Add(uint8(2), []byte{0xa0})
	now := time.Now()
	f.Fuzz(func(t *testing.T, lane uint8, payload []byte) {
		b, err := new(spare).prepare(&Message{Tenant: "acme", Device: "hub1", Lane: protocol.Lane(lane%2 + 1), Payload: payload, Received: now})
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal("an error of another kind:", err)
			}
			return
		}
		var w window
		w.Clock.observe(b.boot, b.sentMono, b.sentWall, b.received)
		for i := range b.records {
			r := &b.records[i]
			if r.at.To <= r.at.From {
				t.Fatalf("record %d spans %+v", i, r.at)
			}
			w.add(r.at)
			if at := w.Clock.correct(r.boot, r.mono, r.wall, b.received); at.Before(floor) || at.After(now) {
				t.Fatalf("record %d happened at %s", i, at)
			}
		}
	})
}

func TestNothingIsTakenInUnderAClockThatIsNotBelieved(t *testing.T) {
	right := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	steady := make(chan bool, 3)
	steady <- false
	steady <- false
	steady <- true
	r := newRig(t)
	r.p.opts.Believed = func() (time.Time, bool) {
		if !<-steady {
			return right.AddDate(20, 0, 0), false
		}
		return right, true
	}
	r.mustSend("hub1", protocol.LaneEvent, of(1, 1, event(t, protocol.EventBoot, nil))) // received now, by the wrong clock
	if e := r.entries(); len(e) != 1 || right.Sub(e[0].At).Abs() > time.Minute {
		t.Errorf("%+v, want one entry of about %s", e, right)
	}
}

// A hub's third boot is the first that gets through after its second, which had a clock that was a year
// behind and never got through. What the second measured must not be a year old: that would be deleted.
func TestWhatAnUnheardBootMeasuredLiesBetweenItsNeighbours(t *testing.T) {
	r := newRig(t)
	now := time.Now().UnixMilli()
	began := of(1, 1, event(t, protocol.EventBoot, nil))
	began.Boot, began.SentMono, began.SentWall = 1, 1000, now
	r.mustSend("hub1", protocol.LaneEvent, began)
	again := of(1, 2, event(t, protocol.EventBoot, nil))
	again.Boot, again.SentMono, again.SentWall = 3, 1000, now
	r.mustSend("hub1", protocol.LaneEvent, again)
	past := now - (365 * 24 * time.Hour).Milliseconds()
	spilled := of(8, 2, protocol.Record{
		Kind: protocol.KindBlock, Boot: 2, Mono: 500, Wall: past, Span: 1,
		Body: body(t, &protocol.Block{Version: 1, Codec: protocol.CodecColumns, Rows: 1, Mono: 500, Wall: past, Data: []byte("x")}),
	})
	spilled.Boot, spilled.SentMono, spilled.SentWall = 3, 2000, now+1000
	r.mustSend("hub1", protocol.LaneTelemetry, spilled)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.put) != 1 || time.Since(r.put[0].From) > time.Hour {
		t.Errorf("kept %+v, want one block of today", r.put)
	}
}
