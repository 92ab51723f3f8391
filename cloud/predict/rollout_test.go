package predict

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
	"github.com/hearthline/hearthline/protocol/risk"
)

// town is a fleet of hubs in a store, on a clock that a test can let run. A hub loses packets for an hour and a half
// before its connection fails for twenty minutes.
type town struct {
	t      *testing.T
	db     store.DB
	log    *timeline.Log
	begin  time.Time
	faults map[string][]time.Time

	mu     sync.Mutex
	runs   map[string]string // the model that each hub scores by
	sent   int
	looked int
}

const (
	signs = 90 * time.Minute
	lasts = 20 * time.Minute
)

func newTown(t *testing.T, hubs int) *town {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "db")}, append(Tables(), timeline.Tables()...)...)
	if err != nil {
		t.Fatal(err)
	}
	tn := &town{t: t, db: db, log: timeline.New(nil), begin: time.Now(), faults: map[string][]time.Time{}, runs: map[string]string{}}
	for i := range hubs {
		tn.runs[fmt.Sprintf("hub-%03d", i)] = "m/1"
	}
	return tn
}

// lives writes the faults of some days, so many a day and hub on average.
func (tn *town) lives(from, days int, aDay float64) {
	tn.t.Helper()
	for _, hub := range tn.names() {
		rng := rand.New(rand.NewPCG(uint64(from), uint64(hub[5])<<8+uint64(hub[6])))
		home := "home-" + hub
		var entries []cloud.Entry
		for at := tn.begin.AddDate(0, 0, from); ; {
			at = at.Add(3*time.Hour + time.Duration(rng.ExpFloat64()*(1/aDay-0.125)*24*float64(time.Hour)))
			if at.After(tn.begin.AddDate(0, 0, from+days)) {
				break
			}
			tn.faults[hub] = append(tn.faults[hub], at)
			for i, k := range []cloud.Kind{cloud.KindDeviceOffline, cloud.KindDeviceOnline} {
				e := entry(fmt.Sprint(hub, at.Unix(), i), 0, k, nil)
				e.Home, e.Subjects[0].ID, e.At = home, hub, at.Add(time.Duration(i)*lasts)
				entries = append(entries, e)
			}
		}
		err := tn.db.Update(tn.t.Context(), "t", func(tx store.Tx) error {
			for _, e := range entries {
				if err := tn.log.Append(tx, e); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tn.t.Fatal(err)
		}
	}
}

func (tn *town) names() (names []string) {
	for n := range tn.runs {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// Samples implements Telemetry: every ten minutes, how many packets are lost.
func (tn *town) Samples(_ store.Tx, _, device string, from, to time.Time, each func([]protocol.Sample)) (int, error) {
	tn.mu.Lock()
	tn.looked++
	tn.mu.Unlock()
	schema := &protocol.Schema{Metrics: []protocol.Metric{{Name: "gateway.loss_ratio"}}}
	var rows []protocol.Sample
	for at := from; at.Before(to); at = at.Add(10 * time.Minute) {
		loss := 0.0
		for _, f := range tn.faults[device] {
			if at.After(f.Add(-signs)) && !at.After(f.Add(lasts)) {
				loss = 0.5
			}
		}
		rows = append(rows, protocol.Sample{Wall: at.UnixMilli(), Schema: schema, Values: []float64{loss}})
	}
	each(rows)
	return 0, nil
}

func (tn *town) list(model string) (out []Hub) {
	tn.mu.Lock()
	defer tn.mu.Unlock()
	for n, m := range tn.runs {
		if model == "" || m == model {
			out = append(out, Hub{"home-" + n, n, m})
		}
	}
	slices.SortFunc(out, func(a, b Hub) int { return cmp.Compare(a.Device, b.Device) })
	return out
}

func (tn *town) Scoring(_ store.Tx, model string, after store.Cursor, limit int) ([]Hub, store.Cursor, error) {
	return paged(tn.list(model), after, limit)
}

func (tn *town) There(_ store.Tx, after store.Cursor, limit int) ([]Hub, store.Cursor, error) {
	return paged(tn.list(""), after, limit)
}

func paged(all []Hub, after store.Cursor, limit int) ([]Hub, store.Cursor, error) {
	i := 0
	for i < len(all) && store.Cursor(all[i].Device) <= after {
		i++
	}
	if all = all[i:]; len(all) <= limit {
		return all, "", nil
	}
	return all[:limit], store.Cursor(all[limit-1].Device), nil
}

// send has a hub take a model, as its agent does.
func (tn *town) send(_, device string, wire []byte) bool {
	m, err := risk.Decode(wire)
	if err != nil {
		tn.t.Error(err)
		return false
	}
	tn.mu.Lock()
	defer tn.mu.Unlock()
	tn.sent++
	tn.runs[device] = m.ID()
	return true
}

func (tn *town) rollout() *Rollout {
	tn.t.Helper()
	r, err := NewRollout(RolloutOptions{
		DB: tn.db, Name: "m", Hubs: tn, Telemetry: tn, Send: tn.send,
		Registry: &Registry{Sign: func(b []byte) ([]byte, error) { return b, nil }},
	})
	if err != nil {
		tn.t.Fatal(err)
	}
	return r
}

// instance works as one process of the service does, until it is stopped.
func (tn *town) instance(name string) (stop func()) {
	r := tn.rollout()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	if err := r.Arm(ctx, "t"); err != nil {
		tn.t.Fatal(err)
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			for queue, do := range map[string]func(context.Context, store.Job) error{QueueLook: r.Look, QueueSend: r.Send} {
				jobs, err := tn.db.Claim(ctx, queue, name, 1, time.Minute)
				for _, j := range jobs {
					if err := cmp.Or(do(ctx, j), tn.db.Done(ctx, j)); err != nil && ctx.Err() == nil {
						tn.t.Errorf("%s: %v", queue, err)
					}
				}
				if err != nil && ctx.Err() == nil {
					tn.t.Error(err)
				}
			}
			select {
			case <-time.After(time.Hour): // not every turn of the timer, to be quick
			case <-ctx.Done():
			}
		}
	})
	return sync.OnceFunc(func() { cancel(); wg.Wait() })
}

func (tn *town) count(model string) int { return len(tn.list(model)) }

func (tn *town) add(b []byte) {
	tn.t.Helper()
	err := tn.db.Update(tn.t.Context(), "t", func(tx store.Tx) error {
		_, err := tn.rollout().opts.Registry.Add(tx, b, ann, time.Now())
		return err
	})
	if err != nil {
		tn.t.Fatal(err)
	}
}

func (tn *town) record(version int64) (rec Record) {
	tn.t.Helper()
	err := tn.db.View(tn.t.Context(), "t", func(tx store.Tx) (err error) {
		rec, err = models.Get(tx, "m", version)
		return err
	})
	if err != nil {
		tn.t.Fatal(err)
	}
	return rec
}

// lossModel says p while packets are lost and calm otherwise.
func lossModel(t *testing.T, version uint64, calm, p float64) []byte {
	t.Helper()
	logit := func(p float64) float64 { return math.Log(p / (1 - p)) }
	in := risk.Input{Signals: []risk.Signal{{Name: "gateway.loss_ratio", Lo: 0, Hi: 1}}}
	in.Add(risk.Feature{Form: risk.Plain, A: in.Track("gateway.loss_ratio", risk.Mean, 1, 0)})
	m := &risk.Model{
		Name: "m", Version: version, Horizon: 3600, Raise: 0.5, Input: in,
		Parts: []risk.Part{{Weight: 1, Linear: &risk.Linear{Bias: logit(calm), Terms: []risk.Term{
			{Feature: 0, Scale: 0.5, Clip: 1, Weight: logit(p) - logit(calm)},
		}}}},
	}
	if err := m.Compile(); err != nil {
		t.Fatal(err)
	}
	b, err := risk.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestARollOutByTwoInstancesReachesAllHubsAndDriftTakesItBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := newTown(t, 60)
		defer tn.db.Close()
		tn.lives(0, 25, 0.25)
		if err := tn.rollout().Seed(t.Context(), "t", lossModel(t, 1, 0.014, 0.014)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(16 * 24 * time.Hour) // with nobody there
		stopA, stopB := tn.instance("a"), tn.instance("b")
		defer stopA()
		defer stopB()
		tn.add(lossModel(t, 2, 0.0005, 0.7))
		tn.add(lossModel(t, 3, 0.014, 0.005)) // thinks better of a lossy line
		time.Sleep(3 * time.Hour)
		if rec := tn.record(3); rec.State != Refused {
			t.Fatalf("a model that is worse than the one in use is %+v", rec)
		}
		rec := tn.record(2)
		gain, doubt := rec.Judged.Gain()
		if rec.State != Rolling || rec.Share != 0.5 || gain < 0.02 || gain < 5*doubt || rec.Fleet != 60 || rec.Judged.Hubs < 55 {
			t.Fatalf("gain %.4f ± %.4f, %+v; version 3: %+v", gain, doubt, rec, tn.record(3))
		}
		if n := tn.count("m/2"); n < 20 || n > 40 {
			t.Fatalf("%d of 60 hubs score by version 2 in the first stage", n)
		}
		time.Sleep(36 * time.Hour)
		once := tn.record(2)
		if n := float64(tn.count("m/2")); once.State == Rolling && (once.Service.Hubs != n || once.Service.N > 24*n || once.Service.N < 23*n) {
			t.Fatalf("a day of %v hubs was counted as %+v", n, once.Service)
		}

		stopA() // one instance dies; the other goes on
		time.Sleep(6 * 24 * time.Hour)
		if rec := tn.record(2); rec.State != Active || tn.count("m/2") != 60 || tn.record(1).State != Retired {
			t.Fatalf("%d of 60 hubs score by version 2, which is %+v", tn.count("m/2"), rec)
		}
		stopB()
		tn.lives(25, 20, 2) // now connections fail, also without a sign
		for _, hub := range tn.names()[:40] {
			tn.faults[hub] = nil
		}
		stop := tn.instance("c") // a restarted instance goes on
		defer stop()
		time.Sleep(8 * 24 * time.Hour)
		if rec := tn.record(2); rec.State != RolledBack || tn.count("m/1") != 60 {
			t.Fatalf("%d of 60 hubs score by version 1; version 2 is %+v", tn.count("m/1"), rec)
		} else if rec.Because == "" {
			t.Error("the roll-back has no reason")
		} else {
			t.Log(rec.Because)
		}
	})
}

func TestWhatTwoInstancesSeeAtOnceIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := newTown(t, 30)
		defer tn.db.Close()
		tn.lives(0, 10, 0.25)
		if err := tn.rollout().Seed(t.Context(), "t", lossModel(t, 1, 0.014, 0.014)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Hour)
		var wg sync.WaitGroup
		for range 3 { // without any lease between them
			wg.Go(func() {
				if err := tn.rollout().Look(t.Context(), store.Job{Tenant: "t"}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		rec := tn.record(1)
		if rec.Service.Hubs != 30 || rec.Service.N > 30*24 || rec.Service.N < 29*24 || !rec.Seen.Equal(rec.StagedAt.Add(24*time.Hour)) {
			t.Fatalf("one day of 30 hubs was counted as %+v", rec.Service)
		}
	})
}

func TestALookThatIsCutOffGoesOnWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tn := newTown(t, 30)
		defer tn.db.Close()
		if err := tn.rollout().Seed(t.Context(), "t", lossModel(t, 1, 0.014, 0.014)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(31 * time.Hour)
		for range 3 {
			if _, err := tn.rollout().step(t.Context(), "t"); err != nil {
				t.Fatal(err)
			}
		}
		if err := tn.rollout().Look(t.Context(), store.Job{Tenant: "t"}); err != nil {
			t.Fatal(err)
		}
		if rec := tn.record(1); rec.Service.Hubs != 30 || tn.looked != 30 {
			t.Fatalf("30 hubs were looked at %d times and counted as %+v", tn.looked, rec.Service)
		}
	})
}

func TestAHubThatWasAwayIsServedWhenItComesAndOneThatTakesNoneIsLeftAlone(t *testing.T) {
	tn := newTown(t, 2)
	defer tn.db.Close()
	r := tn.rollout()
	if err := r.Seed(t.Context(), "t", lossModel(t, 7, 0.01, 0.5)); err != nil {
		t.Fatal(err)
	}
	r.Presented(t.Context(), "t", "hub-000", "m/1")
	if tn.count("m/7") != 1 || tn.sent != 1 {
		t.Fatalf("%d hubs score by version 7 after %d messages", tn.count("m/7"), tn.sent)
	}
	r.Presented(t.Context(), "t", "hub-000", "m/7")
	r.Presented(t.Context(), "t", "hub-001", "")
	if tn.sent != 1 {
		t.Errorf("%d messages were sent", tn.sent)
	}
	r.Presented(t.Context(), "t", "hub-001", protocol.NoModel)
	if tn.count("m/7") != 2 {
		t.Error("a hub without a model got none")
	}
	if _, err := NewRollout(RolloutOptions{}); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Error("nothing was taken for options")
	}
}
