package telemetry_test

import (
	"context"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/protocol"
)

var begin = time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)

// keeper is a store with one device that sends a block of 5 minutes at a time.
type keeper struct {
	t      *testing.T
	db     *bolt.DB
	now    time.Time
	schema *protocol.Schema
	seq    uint64
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{t: t, now: begin}
	var err error
	k.db, err = bolt.Open(bolt.Options{
		Path: filepath.Join(t.TempDir(), "store.db"), MapBytes: 64 << 20, Clock: func() time.Time { return k.now },
	}, telemetry.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.db.Close() })
	k.schema, err = protocol.NewSchema([]protocol.Metric{
		{Name: "gateway.rtt_ms", Kind: protocol.Gauge, Scale: 2},
		{Name: "iface.rx_bytes", Instance: "eth0", Kind: protocol.Counter},
	})
	if err != nil {
		t.Fatal(err)
	}
	k.update(func(tx store.Tx) error { return telemetry.Keeper{}.PutSchema(tx, "home1", "hub1", k.schema) })
	return k
}

func (k *keeper) update(fn func(store.Tx) error) {
	k.t.Helper()
	if err := k.db.Update(context.Background(), "acme", fn); err != nil {
		k.t.Fatal(err)
	}
}

// block keeps five minutes from at, a row every 10 s, by value.
func (k *keeper) block(at time.Time, value func(row int) (rtt, bytes float64)) {
	k.t.Helper()
	sealer, err := protocol.NewSealer(k.schema)
	if err != nil {
		k.t.Fatal(err)
	}
	for row := range 30 {
		rtt, bytes := value(row)
		// The device's own clock is far off; the cloud knows better.
		sealer.Add(&protocol.Sample{Mono: int64(row) * 10_000, Wall: int64(row) * 10_000, Schema: k.schema, Values: []float64{rtt, bytes}})
	}
	b, err := protocol.Marshal(sealer.Seal())
	if err != nil {
		k.t.Fatal(err)
	}
	k.seq++
	k.update(func(tx store.Tx) error {
		return telemetry.Keeper{}.PutBlocks(tx, []cloud.Block{{
			Home: "home1", Device: "hub1", From: at, To: at.Add(5 * time.Minute), Epoch: 1, Sequence: k.seq, Bytes: b,
		}})
	})
}

func (k *keeper) read(from, to time.Time, step time.Duration, metrics ...string) []telemetry.Series {
	k.t.Helper()
	var out []telemetry.Series
	err := k.db.View(context.Background(), "acme", func(tx store.Tx) (err error) {
		out, err = telemetry.Keeper{}.Read(tx, telemetry.Query{Home: "home1", Device: "hub1", Metrics: metrics, From: from, To: to, Step: step})
		return err
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

// work runs what is due, until nothing is.
func (k *keeper) work(jobs telemetry.Jobs) (done int) {
	k.t.Helper()
	for {
		n := 0
		for queue, do := range map[string]func(context.Context, store.Job) error{telemetry.QueueHour: jobs.RollUp, telemetry.QueueForget: jobs.Forget} {
			claimed, err := k.db.Claim(context.Background(), queue, "test", 100, time.Minute)
			if err != nil {
				k.t.Fatal(err)
			}
			for _, j := range claimed {
				if err := do(context.Background(), j); err != nil {
					k.t.Fatal(err)
				}
				if err := k.db.Done(context.Background(), j); err != nil {
					k.t.Fatal(err)
				}
				n++
			}
		}
		if done += n; n == 0 {
			return done
		}
	}
}

func (k *keeper) jobs() telemetry.Jobs {
	return telemetry.Jobs{DB: k.db, Clock: func() time.Time { return k.now }}
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

func TestAChartSumsUpEachStepInTrueTimeAndACounterIsARate(t *testing.T) {
	k := newKeeper(t)
	k.block(begin, func(row int) (float64, float64) { return float64(row), float64(row) * 5000 })
	k.block(begin.Add(5*time.Minute), func(row int) (float64, float64) { // the counter was reset; one reading is missing
		if row == 3 {
			return math.NaN(), float64(row) * 1000
		}
		return 100, float64(row) * 1000
	})
	got := k.read(begin, begin.Add(10*time.Minute), time.Minute)
	if len(got) != 2 || got[0].Metric != "gateway.rtt_ms" || got[1].Instance != "eth0" {
		t.Fatalf("%+v", got)
	}
	rtt, rx := got[0].Points, got[1].Points
	if len(rtt) != 10 || !rtt[0].At.Equal(begin) || rtt[0].N != 6 || rtt[0].Min != 0 || rtt[0].Max != 5 || !near(rtt[0].Mean, 2.5) {
		t.Errorf("first minute of a gauge: %+v", rtt)
	}
	if rtt[5].N != 5 || rtt[5].Mean != 100 {
		t.Errorf("a minute with a missing reading: %+v", rtt[5])
	}
	if rx[0].N != 5 || !near(rx[0].Mean, 500) || rx[5].N != 5 || !near(rx[5].Mean, 100) || rx[5].Min < 0 {
		t.Errorf("a counter: %+v", rx)
	}
	if one := k.read(begin, begin.Add(time.Minute), time.Minute, "iface.rx_bytes"); len(one) != 1 {
		t.Errorf("asked for one metric, got %+v", one)
	}
	if none := k.read(begin.Add(-time.Hour), begin, time.Minute); len(none) != 0 {
		t.Errorf("before anything came: %+v", none)
	}
}

func TestAQueryThatAsksForTooMuchIsRefused(t *testing.T) {
	k := newKeeper(t)
	for name, q := range map[string]telemetry.Query{
		"backwards":       {From: begin, To: begin.Add(-1), Step: time.Minute},
		"no step":         {From: begin, To: begin.Add(time.Hour)},
		"too many points": {From: begin, To: begin.Add(time.Hour), Step: time.Millisecond},
		"too long":        {From: begin, To: begin.Add(10 * 365 * 24 * time.Hour), Step: 24 * time.Hour},
	} {
		err := k.db.View(context.Background(), "acme", func(tx store.Tx) error {
			_, err := telemetry.Keeper{}.Read(tx, q)
			return err
		})
		if cloud.CodeOf(err) != cloud.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHoursAreRolledUpAgainWhenBlocksComeLateAndOutliveTheBlocks(t *testing.T) {
	k := newKeeper(t)
	even := func(v float64) func(int) (float64, float64) {
		return func(row int) (float64, float64) { return v, float64(row) }
	}
	k.block(begin, even(10))
	if n := k.work(k.jobs()); n != 0 {
		t.Errorf("%d jobs ran before the hour was over", n)
	}
	k.now = begin.Add(80 * time.Minute)
	k.work(k.jobs())
	hour := func() telemetry.Point {
		t.Helper()
		got := k.read(begin, begin.Add(10*24*time.Hour), time.Hour, "gateway.rtt_ms")
		if len(got) != 1 || len(got[0].Points) != 1 {
			t.Fatalf("hours: %+v", got)
		}
		return got[0].Points[0]
	}
	if p := hour(); p.N != 30 || p.Mean != 10 {
		t.Errorf("rolled up: %+v", p)
	}
	k.block(begin.Add(30*time.Minute), even(20)) // kept by a device that was offline
	k.now = k.now.Add(time.Minute)
	k.work(k.jobs())
	if p := hour(); p.N != 60 || !near(p.Mean, 15) {
		t.Errorf("rolled up again: %+v", p)
	}

	k.now = begin.Add(32 * 24 * time.Hour)
	k.work(k.jobs())
	if raw := k.read(begin, begin.Add(time.Hour), time.Minute); len(raw) != 0 {
		t.Errorf("blocks of a month ago are still there: %+v", raw)
	}
	if p := hour(); p.N != 60 || !near(p.Mean, 15) {
		t.Errorf("the hour went with its blocks: %+v", p)
	}
	k.now = begin.Add(402 * 24 * time.Hour)
	k.work(k.jobs())
	if old := k.read(begin, begin.Add(10*24*time.Hour), time.Hour); len(old) != 0 {
		t.Errorf("hours of last year are still there: %+v", old)
	}
	if left, err := k.db.Waiting(context.Background(), telemetry.QueueForget, 10); err != nil || len(left) != 0 {
		t.Errorf("jobs left for a day that is gone: %v, %v", left, err)
	}
}

func TestABlockThatCannotBeReadSpoilsNoChart(t *testing.T) {
	k := newKeeper(t)
	k.block(begin, func(row int) (float64, float64) { return 1, 0 })
	k.update(func(tx store.Tx) error {
		return telemetry.Keeper{}.PutBlocks(tx, []cloud.Block{
			{Home: "home1", Device: "hub1", From: begin, To: begin, Epoch: 1, Sequence: 98, Bytes: []byte("no block")},
			{Home: "home1", Device: "hub1", From: begin, To: begin.Add(1000 * time.Hour), Epoch: 1, Sequence: 99, Bytes: nil},
		})
	})
	if got := k.read(begin, begin.Add(5*time.Minute), time.Minute, "gateway.rtt_ms"); len(got) != 1 || len(got[0].Points) != 5 {
		t.Errorf("%+v", got)
	}
	if waiting, err := k.db.Waiting(context.Background(), telemetry.QueueHour, 100); err != nil || len(waiting) > 3 {
		t.Errorf("a block that claims a thousand hours made %d jobs, %v", len(waiting), err)
	}
}

func TestTheLatestReadingIsFoundInARunThatBeganBeforeOthers(t *testing.T) {
	k := newKeeper(t)
	value := 0.0
	block := func(sequence uint64, at time.Time) cloud.Block {
		sealer, err := protocol.NewSealer(k.schema)
		if err != nil {
			t.Fatal(err)
		}
		value++
		sealer.Add(&protocol.Sample{Schema: k.schema, Values: []float64{value, 0}})
		b, err := protocol.Marshal(sealer.Seal())
		if err != nil {
			t.Fatal(err)
		}
		return cloud.Block{Home: "home1", Device: "hub1", From: at, To: at, Epoch: 1, Sequence: sequence, Bytes: b}
	}
	latest := func() (float64, time.Time) {
		t.Helper()
		var s *protocol.Sample
		var at time.Time
		err := k.db.View(context.Background(), "acme", func(tx store.Tx) (err error) {
			s, at, err = telemetry.Keeper{}.Latest(tx, "home1", "hub1")
			return err
		})
		if err != nil || s == nil {
			t.Fatalf("%v, %v", s, err)
		}
		return s.Values[0], at
	}
	newest := begin.Add(14 * time.Minute)
	k.update(func(tx store.Tx) error {
		return telemetry.Keeper{}.PutBlocks(tx, []cloud.Block{block(1, begin), block(2, begin.Add(7*time.Minute)), block(3, newest)})
	})
	k.update(func(tx store.Tx) error {
		return telemetry.Keeper{}.PutBlocks(tx, []cloud.Block{block(4, begin.Add(9*time.Minute))})
	})
	if v, at := latest(); v != 3 || !at.Equal(newest) {
		t.Errorf("reading %v at %s, want 3 at %s", v, at, newest)
	}
	k.update(func(tx store.Tx) error {
		broken := block(5, newest.Add(time.Minute))
		broken.Bytes = []byte("no block")
		return telemetry.Keeper{}.PutBlocks(tx, []cloud.Block{broken})
	})
	if v, at := latest(); v != 3 || !at.Equal(newest) {
		t.Errorf("behind a block that cannot be read: %v at %s", v, at)
	}
}
