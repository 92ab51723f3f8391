package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/outbox"
	"github.com/hearthline/hearthline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, path string, change ...func(*outbox.Options)) *outbox.Outbox {
	t.Helper()
	opts := outbox.Options{Path: path, Device: "hub-1", Clock: agent.NewClock()}
	for _, c := range change {
		c(&opts)
	}
	o, err := outbox.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	return o
}

func event(t testing.TB, o *outbox.Outbox, n int) protocol.EntryID {
	t.Helper()
	id, err := o.Event(context.Background(), &protocol.Event{Kind: protocol.EventSymptom, Args: map[string]string{"n": fmt.Sprint(n)}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// block is a telemetry record of about size bytes that cannot be told from another but by its number.
func block(t testing.TB, o *outbox.Outbox, n, size int) {
	t.Helper()
	b, err := protocol.Marshal(&protocol.Block{Version: 1, Codec: protocol.CodecColumns, Schema: 1, Rows: 1, Mono: int64(n), Data: make([]byte, size)})
	if err != nil {
		t.Fatal(err)
	}
	if err := o.Telemetry(protocol.KindBlock, b); err != nil {
		t.Fatal(err)
	}
}

func schema(t testing.TB, o *outbox.Outbox) {
	t.Helper()
	s, err := protocol.NewSchema([]protocol.Metric{{Name: "m", Kind: protocol.Gauge}})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := protocol.Marshal(s)
	if err := o.Telemetry(protocol.KindSchema, b); err != nil {
		t.Fatal(err)
	}
}

// drain reads the whole lane and fails when a sequence is missing or comes twice within an epoch.
func drain(t testing.TB, o *outbox.Outbox, l protocol.Lane) (runs []agent.Run, last agent.Place) {
	t.Helper()
	for {
		r, err := o.Read(l, last, 7, 16<<10)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Records) == 0 {
			return runs, last
		}
		acked, ok := o.Acknowledged(l, r.Epoch)
		want := max(last.Sequence, acked+1)
		if r.Epoch != last.Epoch {
			want = acked + 1
		}
		if !ok || r.First > want || r.Next().Sequence <= want {
			t.Fatalf("lane %s epoch %d: next record is %d (%d of them), want %d", l, r.Epoch, r.First, len(r.Records), want)
		}
		for _, rec := range r.Records {
			if rec.Kind != protocol.KindGap {
				continue
			}
			var g protocol.Gap
			if err := protocol.Unmarshal(rec.Body, &g); err != nil || g.Records != rec.Span {
				t.Fatalf("gap of %d records spans %d sequences (%v)", g.Records, rec.Span, err)
			}
		}
		runs, last = append(runs, r), r.Next()
	}
}

func count(runs []agent.Run, k protocol.Kind) (n, span int) {
	for _, r := range runs {
		for _, rec := range r.Records {
			if rec.Kind == k {
				n++
				span += int(rec.Span)
			}
		}
	}
	return n, span
}

func TestEventsAreOnDiskWhenEventReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	o := open(t, path)
	id := event(t, o, 1)
	copied := filepath.Join(t.TempDir(), "outbox.db") // what a power cut would leave
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, b, 0o600); err != nil {
		t.Fatal(err)
	}
	after := open(t, copied)
	if runs, _ := drain(t, after, protocol.LaneEvent); len(runs) != 1 || protocol.DeviceEntryID("hub-1", runs[0].Epoch, runs[0].First) != id {
		t.Fatalf("event %s is not in the copy: %v", id, runs)
	}
	if next := event(t, after, 2); next == id {
		t.Fatalf("%s was given out twice", id)
	}
}

func TestAnAcknowledgedEventLeavesAndItsPlaceIsNotUsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	o := open(t, path)
	_, epoch, seq, _ := event(t, o, 1).Device()
	if from, to := o.Acked(protocol.LaneEvent, epoch, seq); from != seq || to != seq {
		t.Fatalf("acked %d..%d, want %d", from, to, seq)
	}
	for name, a := range map[string][2]uint64{"again": {epoch, seq}, "never sent": {epoch, seq + 5}, "another epoch": {epoch + 1, 1}} {
		if from, to := o.Acked(protocol.LaneEvent, a[0], a[1]); from != 0 || to != 0 {
			t.Errorf("%s: acked %d..%d", name, from, to)
		}
	}
	if runs, _ := drain(t, o, protocol.LaneEvent); len(runs) != 0 {
		t.Fatalf("still there: %v", runs)
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	if _, e, s, _ := event(t, open(t, path), 2).Device(); e != epoch || s <= seq {
		t.Fatalf("next event is %d.%d after %d.%d", e, s, epoch, seq)
	}
}

func TestConcurrentEventsAllGetTheirOwnPlace(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"))
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[protocol.EntryID]bool{}
	for n := range 100 {
		wg.Go(func() {
			id := event(t, o, n)
			mu.Lock()
			defer mu.Unlock()
			seen[id] = true
		})
	}
	wg.Wait()
	runs, _ := drain(t, o, protocol.LaneEvent)
	if n, _ := count(runs, protocol.KindEvent); len(seen) != 100 || n != 100 {
		t.Fatalf("%d ids, %d records", len(seen), n)
	}
}

func TestTelemetryIsNotWrittenWhileItIsAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "outbox.db")
		o := open(t, path)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		before := stamp(t, path)
		for n := range 600 {
			block(t, o, n, 300)
			time.Sleep(time.Second)
			run, err := o.Read(protocol.LaneTelemetry, agent.Place{}, 10, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			o.Acked(protocol.LaneTelemetry, run.Epoch, run.Next().Sequence-1)
		}
		if after := stamp(t, path); after != before {
			t.Errorf("the file was written in ten calm minutes: %v, then %v", before, after)
		}
		block(t, o, 601, 300)
		time.Sleep(11 * time.Second)
		if stamp(t, path) == before {
			t.Error("an unacknowledged record was not written within 11 s: the test is blind")
		}
		stop()
		<-done
		_ = o.Close()
	})
}

type fileStamp struct {
	size int64
	sum  uint64
}

func stamp(t testing.TB, path string) fileStamp {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var sum uint64
	for _, c := range b {
		sum = sum*1099511628211 + uint64(c)
	}
	return fileStamp{int64(len(b)), sum}
}

func TestUnacknowledgedTelemetrySurvivesARestartUnderItsOwnEpoch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	o := open(t, path)
	schema(t, o)
	for n := range 50 {
		block(t, o, n, 100)
	}
	run, _ := o.Read(protocol.LaneTelemetry, agent.Place{}, 10, 1<<20)
	o.Acked(protocol.LaneTelemetry, run.Epoch, 20)
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	o = open(t, path)
	schema(t, o)
	block(t, o, 99, 100)
	runs, _ := drain(t, o, protocol.LaneTelemetry)
	if runs[0].Epoch != run.Epoch || runs[0].First != 21 {
		t.Fatalf("the old epoch begins at %d.%d, want %d.21", runs[0].Epoch, runs[0].First, run.Epoch)
	}
	newest := runs[len(runs)-1]
	if n, _ := count(runs, protocol.KindBlock); n != 32 || newest.Epoch <= run.Epoch || newest.First != 1 {
		t.Fatalf("%d blocks; the new epoch is %d.%d after %d", n, newest.Epoch, newest.First, run.Epoch)
	}
}

func TestTheOldestTelemetryGoesFirstAndLeavesAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const quota = 512 << 10
		path := filepath.Join(t.TempDir(), "outbox.db")
		o := open(t, path, func(o *outbox.Options) { o.MaxBytes = quota })
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- o.Run(ctx) }()
		schema(t, o)
		for n := range 5000 { // 1.5 MB
			block(t, o, n, 300)
			if n%100 == 0 {
				event(t, o, n)
			}
			time.Sleep(time.Second)
		}
		runs, last := drain(t, o, protocol.LaneTelemetry)
		schemas, _ := count(runs, protocol.KindSchema)
		blocks, _ := count(runs, protocol.KindBlock)
		gaps, dropped := count(runs, protocol.KindGap)
		if schemas != 1 || gaps != 1 || blocks+dropped != 5000 || blocks < 500 || last.Sequence != 5002 {
			t.Errorf("%d schemas, %d gaps for %d records, %d blocks, next %d", schemas, gaps, dropped, blocks, last.Sequence)
		}
		events, _ := drain(t, o, protocol.LaneEvent)
		if n, _ := count(events, protocol.KindEvent); n != 50 {
			t.Errorf("%d events, want all 50", n)
		}
		if st, _ := os.Stat(path); st.Size() > quota {
			t.Errorf("the file has %d bytes, quota %d", st.Size(), quota)
		}
		stop()
		<-done
		_ = o.Close()
	})
}

func TestMemoryIsBoundedAndTheGapSaysWhatWent(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"), func(o *outbox.Options) { o.MaxMemory = 64 << 10 })
	schema(t, o)
	for n := range 1000 { // nobody runs the outbox: as when the disk is full
		block(t, o, n, 300)
	}
	runs, _ := drain(t, o, protocol.LaneTelemetry)
	blocks, _ := count(runs, protocol.KindBlock)
	gaps, dropped := count(runs, protocol.KindGap)
	if gaps != 1 || blocks+dropped != 1000 || blocks < 100 || blocks > 64<<10/300 {
		t.Fatalf("%d gaps for %d records, %d blocks", gaps, dropped, blocks)
	}
}

func TestEventsThatFillTheQuotaAreRefusedAloud(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"), func(o *outbox.Options) { o.MaxBytes = 256 << 10 })
	text := make([]byte, 4000)
	for i := range text {
		text[i] = 'x'
	}
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = o.Event(context.Background(), &protocol.Event{Kind: "x", Args: map[string]string{"a": string(text)}})
	}
	if !errors.Is(err, outbox.ErrFull) || n < 20 {
		t.Fatalf("after %d events: %v", n, err)
	}
	runs, _ := drain(t, o, protocol.LaneEvent)
	if got, _ := count(runs, protocol.KindEvent); got != n-1 {
		t.Fatalf("%d events are kept, %d were promised", got, n-1)
	}
}

func TestADamagedFileIsSetAsideUnderNewEpochs(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"truncated to a page":   func(b []byte) []byte { return b[:5000] },
		"truncated in half":     func(b []byte) []byte { return b[:len(b)/2] },
		"zeroed":                func(b []byte) []byte { return make([]byte, len(b)) },
		"text":                  func([]byte) []byte { return []byte("not a database at all\n") },
		"noise in all but head": func(b []byte) []byte { noise(b[8192:]); return b },
		"noise everywhere":      func(b []byte) []byte { noise(b); return b },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "outbox.db")
			o := open(t, path)
			_, epoch, _, _ := event(t, o, 1).Device()
			for n := range 200 {
				block(t, o, n, 300)
			}
			telemetry, _ := drain(t, o, protocol.LaneTelemetry)
			boot := o.Boot()
			if err := o.Close(); err != nil {
				t.Fatal(err)
			}
			b, _ := os.ReadFile(path)
			if err := os.WriteFile(path, damage(b), 0o600); err != nil {
				t.Fatal(err)
			}
			o = open(t, path)
			if o.SetAside() == "" {
				t.Fatal("nothing was set aside")
			}
			if _, err := os.Stat(path + ".corrupt"); err != nil {
				t.Error(err)
			}
			if _, e, _, _ := event(t, o, 2).Device(); e <= epoch {
				t.Errorf("event epoch %d after %d", e, epoch)
			}
			block(t, o, 1, 300)
			if runs, _ := drain(t, o, protocol.LaneTelemetry); len(runs) != 1 || runs[0].Epoch <= telemetry[0].Epoch {
				t.Errorf("telemetry %v after epoch %d", runs, telemetry[0].Epoch)
			}
			if o.Boot() <= boot {
				t.Errorf("boot %d after %d", o.Boot(), boot)
			}
		})
	}
}

func noise(b []byte) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

// A flipped bit is found, or it hit a place that holds nothing; it is never delivered.
func TestAFlippedBitIsNeverDelivered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	o := open(t, path)
	want := map[string]bool{}
	for n := range 20 {
		event(t, o, n)
	}
	runs, _ := drain(t, o, protocol.LaneEvent)
	for _, r := range runs {
		for _, rec := range r.Records {
			want[string(rec.Body)] = true
		}
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	whole, _ := os.ReadFile(path)
	rng := rand.New(rand.NewPCG(5, 6))
	found := 0
	for range 60 {
		b := append([]byte(nil), whole...)
		b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		damaged := filepath.Join(t.TempDir(), "outbox.db")
		if err := os.WriteFile(damaged, b, 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := outbox.Open(outbox.Options{Path: damaged, Device: "hub-1", Clock: agent.NewClock()})
		if err != nil {
			t.Fatal(err)
		}
		if o.SetAside() != "" {
			found++
		}
		runs, _ := drain(t, o, protocol.LaneEvent)
		for _, r := range runs {
			for _, rec := range r.Records {
				if !want[string(rec.Body)] {
					t.Fatal("a damaged record was delivered")
				}
			}
		}
		_ = o.Close()
	}
	if found == 0 {
		t.Error("no flip was ever found: the test is blind")
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "outbox.db")
	open(t, path)
	if _, err := outbox.Open(outbox.Options{Path: path, Device: "hub-1", Clock: agent.NewClock()}); !errors.Is(err, outbox.ErrLocked) {
		t.Fatalf("got %v", err)
	}
}

func TestWaitAckedReturnsWithTheAcknowledgement(t *testing.T) {
	o := open(t, filepath.Join(t.TempDir(), "outbox.db"))
	id := event(t, o, 1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := o.WaitAcked(ctx, id); !errors.Is(err, context.Canceled) {
		t.Fatalf("before the acknowledgement: %v", err)
	}
	got := make(chan error)
	go func() { got <- o.WaitAcked(t.Context(), id) }()
	_, epoch, seq, _ := id.Device()
	o.Acked(protocol.LaneEvent, epoch, seq)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}
