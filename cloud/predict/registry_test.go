package predict

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/protocol/risk"
)

type shelf struct {
	*Registry
	t   *testing.T
	db  store.DB
	now time.Time
	pub ed25519.PublicKey
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "db")}, Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(b []byte) ([]byte, error) { return append(ed25519.Sign(key, b), b...), nil }
	return &shelf{&Registry{Sign: sign}, t, db, time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), pub}
}

// do runs f in a transaction and returns its error.
func (s *shelf) do(f func(tx store.Tx) error) error {
	var inner error
	err := s.db.Update(s.t.Context(), "t", func(tx store.Tx) error {
		if inner = f(tx); errors.Is(inner, ErrNotBetter) {
			return nil // a refusal is kept
		}
		return inner
	})
	return errors.Join(err, inner)
}

func (s *shelf) must(f func(tx store.Tx) error) {
	s.t.Helper()
	if err := s.do(f); err != nil {
		s.t.Fatal(err)
	}
}

var ann = cloud.Ref{Type: cloud.RefStaff, ID: "ann"}

func plainModel(t *testing.T, version uint64, horizon float64) []byte {
	t.Helper()
	m := &risk.Model{Name: "m", Version: version, Horizon: horizon, Raise: 1, Input: HubInput(5, 60), Parts: []risk.Part{{Weight: 1, Linear: &risk.Linear{}}}}
	if err := m.Compile(); err != nil {
		t.Fatal(err)
	}
	b, err := risk.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// gains is a tally of a hundred hubs, on each of which a model gains a tenth of a nat a moment, give or take.
func gains(gain, giveOrTake float64) (t Tally) {
	for i := range 100 {
		g := gain + giveOrTake*float64(i%2*2-1)
		t = t.plus(Tally{Hubs: 1, Rivals: 1, Both: 1, BothSq: 1, Gained: g, GainSq: g * g, GainN: g}, 1)
	}
	return t
}

func (s *shelf) add(version uint64, judged Tally) error {
	s.t.Helper()
	b := plainModel(s.t, version, 60)
	if err := s.do(func(tx store.Tx) error { _, err := s.Add(tx, b, ann, s.now); return err }); err != nil {
		return err
	}
	return s.do(func(tx store.Tx) error { _, err := s.Judged(tx, "m", int64(version), judged, 0, s.now); return err })
}

// advance lets a day pass and returns what changed.
func (s *shelf) advance() (rec Record, changed bool) {
	s.now = s.now.Add(24 * time.Hour)
	s.must(func(tx store.Tx) (err error) { rec, changed, err = s.Advance(tx, "m", s.now); return err })
	return rec, changed
}

// share counts the hubs of a thousand that get a version.
func (s *shelf) share(version int64) (n int) {
	s.must(func(tx store.Tx) error {
		n = 0
		for i := range 1000 {
			rec, ok, err := s.For(tx, "m", fmt.Sprint("hub-", i))
			if err != nil {
				return err
			}
			if ok && rec.Version == version {
				n++
			}
		}
		return nil
	})
	return n
}

// observe has faults come after some of 1000 predictions of 5 %, made on fifty hubs.
func (s *shelf) observe(version int64, faults int, more ...Tally) {
	var t Tally
	for hub := range 50 {
		var o []Outcome
		for i := range 20 {
			o = append(o, Outcome{0.05, i*50+hub < faults})
		}
		n := 0
		for _, x := range o {
			n += int(number(x.Fault))
		}
		t.hub(o, nil, n)
	}
	for _, m := range more {
		t = t.plus(m, 1)
	}
	s.must(func(tx store.Tx) error { _, err := s.Observe(tx, "m", version, t, s.now); return err })
}

func TestAModelReachesAllHubsInStages(t *testing.T) {
	s := newShelf(t)
	if err := s.add(1, Tally{}); err != nil { // the first needs no rival
		t.Fatal(err)
	}
	if n := s.share(1); n != 1000 {
		t.Fatalf("the first model serves %d of 1000", n)
	}
	if err := s.add(2, gains(0.02, 0.01)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ lo, hi int }{{1, 25}, {70, 130}, {440, 560}, {1000, 1000}} {
		if n := s.share(2); n < want.lo || n > want.hi {
			t.Fatalf("version 2 serves %d of 1000, want %d to %d", n, want.lo, want.hi)
		}
		if want.lo == 1000 {
			break
		}
		if _, changed := s.advance(); changed {
			t.Fatal("a stage ended that had seen nothing")
		}
		s.observe(2, 51)
		s.now = s.now.Add(-47 * time.Hour)
		if _, changed := s.advance(); changed {
			t.Fatal("a stage ended within an hour")
		}
		if _, changed := s.advance(); !changed {
			t.Fatal("a stage of a day that has seen 51 faults did not end")
		}
	}
	s.must(func(tx store.Tx) error {
		rec, _, err := s.For(tx, "m", "any")
		if err != nil {
			return err
		}
		wire, err := s.Wire(tx, "m", rec.Version)
		if err == nil && !ed25519.Verify(s.pub, wire[ed25519.SignatureSize:], wire[:ed25519.SignatureSize]) {
			t.Error("what hubs are sent is not signed")
		}
		if err == nil {
			_, err = risk.Decode(wire[ed25519.SignatureSize:])
		}
		return err
	})
}

func TestACandidateThatIsNoBetterIsRefused(t *testing.T) {
	s := newShelf(t)
	if err := s.add(1, Tally{}); err != nil {
		t.Fatal(err)
	}
	for v, judged := range []Tally{gains(-0.01, 0.01), gains(0.01, 0.06), gains(0, 0), {}} {
		if err := s.add(uint64(v+2), judged); !errors.Is(err, ErrNotBetter) {
			g, d := judged.Gain()
			t.Errorf("gain %v, doubt %v: err = %v", g, d, err)
		}
	}
	if n := s.share(1); n != 1000 {
		t.Fatalf("version 1 serves %d of 1000", n)
	}
	if err := s.add(2, gains(1, 0.1)); cloud.CodeOf(err) != cloud.CodeConflict {
		t.Fatal("a version was entered twice:", err)
	}
	for name, b := range map[string][]byte{"nonsense": []byte("no model"), "of another horizon": plainModel(t, 9, 600)} {
		if err := s.do(func(tx store.Tx) error { _, err := s.Add(tx, b, ann, s.now); return err }); cloud.CodeOf(err) != cloud.CodeInvalid {
			t.Errorf("a model %s was entered: %v", name, err)
		}
	}
}

func TestADriftingOrWorseModelIsRolledBack(t *testing.T) {
	worse := gains(-0.02, 0.01)
	for _, c := range []struct {
		name   string
		faults int // of 1000 predictions at 5 %
		more   Tally
		back   bool
	}{
		{"as many faults as predicted", 52, Tally{}, false},
		{"far more faults than predicted", 140, Tally{}, true},
		{"hardly any", 5, Tally{}, true},
		{"more, but not half as many again", 70, Tally{}, false},
		{"calibrated, but worse than the model in use", 52, worse, true},
		{"calibrated, and a little worse by chance", 52, gains(-0.001, 0.01), false},
		{"far more, but all of them on one hub", 52, Tally{Hubs: 1, Observed: 90, Spread: 90 * 90, N: 100}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShelf(t)
			if err := errors.Join(s.add(1, Tally{}), s.add(2, gains(1, 0.1))); err != nil {
				t.Fatal(err)
			}
			s.observe(2, c.faults, c.more)
			rec, changed := s.advance()
			if back := changed && rec.State == RolledBack; back != c.back {
				t.Fatalf("%+v, changed %v; want rolled back: %v", rec, changed, c.back)
			}
			if c.back && (rec.Because == "" || s.share(1) != 1000) {
				t.Fatalf("version 1 serves %d of 1000, because %q", s.share(1), rec.Because)
			}
		})
	}
}

func TestAnActiveModelGivesWayToItsPredecessorButNeverToNothing(t *testing.T) {
	s := newShelf(t)
	if err := s.add(1, Tally{}); err != nil {
		t.Fatal(err)
	}
	s.observe(1, 300)
	if rec, changed := s.advance(); changed {
		t.Fatalf("the only model there is was changed: %+v", rec)
	}
	if err := s.add(2, gains(1, 0.1)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.observe(2, 50)
		s.advance()
	}
	if n := s.share(2); n != 1000 {
		t.Fatalf("version 2 serves %d of 1000", n)
	}
	s.observe(2, 300)
	if rec, changed := s.advance(); !changed || rec.Version != 2 || rec.State != RolledBack || s.share(1) != 1000 {
		t.Fatalf("%+v, changed %v, version 1 serves %d", rec, changed, s.share(1))
	}
}

func TestAPersonStopsAndStartsARollOutAndIsOnRecord(t *testing.T) {
	s := newShelf(t)
	if err := errors.Join(s.add(1, Tally{}), s.add(2, gains(1, 0.1))); err != nil {
		t.Fatal(err)
	}
	stop := func(version int64) error {
		return s.do(func(tx store.Tx) error { _, err := s.Stop(tx, "m", version, ann, "complaints", s.now); return err })
	}
	start := func(version int64) error {
		return s.do(func(tx store.Tx) error {
			_, err := s.Start(tx, "m", version, ann, "it was not the model", s.now)
			return err
		})
	}
	if err := start(2); cloud.CodeOf(err) != cloud.CodeConflict {
		t.Error("what is rolling was started:", err)
	}
	if err := stop(2); err != nil || s.share(1) != 1000 {
		t.Fatalf("%v; version 1 serves %d", err, s.share(1))
	}
	if err := stop(1); cloud.CodeOf(err) != cloud.CodeConflict {
		t.Error("the only model in use was stopped:", err)
	}
	if err := start(2); err != nil || s.share(2) == 0 || s.share(2) > 25 {
		t.Fatalf("%v; version 2 serves %d", err, s.share(2))
	}
	s.must(func(tx store.Tx) error {
		_, log, err := s.List(tx, "m", 10)
		states := map[State]int{}
		for _, c := range log {
			if c.Version == 2 && c.By == ann {
				states[c.State]++
			}
		}
		if states[Candidate] != 1 || states[RolledBack] != 1 || states[Rolling] != 1 {
			t.Errorf("the log says %+v", log)
		}
		return err
	})
}
