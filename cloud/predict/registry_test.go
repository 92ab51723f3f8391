package predict

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

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

func (s *shelf) add(version uint64, gain, doubt float64) error {
	m := &risk.Model{Name: "m", Version: version, Horizon: 60, Raise: 1, Input: HubInput(5, 60), Parts: []risk.Part{{Weight: 1, Linear: &risk.Linear{}}}}
	if err := m.Compile(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.do(func(tx store.Tx) error { _, err := s.Add(tx, &Trained{Model: m}, s.now); return err }); err != nil {
		return err
	}
	return s.do(func(tx store.Tx) error { _, err := s.Judged(tx, "m", int64(version), gain, doubt, s.now); return err })
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

func (s *shelf) observe(version int64, p float64, faults, n int) {
	var o []Outcome
	for i := range n {
		o = append(o, Outcome{p, i < faults})
	}
	s.must(func(tx store.Tx) error { _, err := s.Observe(tx, "m", version, o, 1); return err })
}

func TestAModelReachesAllHubsInStages(t *testing.T) {
	s := newShelf(t)
	if err := s.add(1, 0, 0); err != nil { // the first needs no rival
		t.Fatal(err)
	}
	if n := s.share(1); n != 1000 {
		t.Fatalf("the first model serves %d of 1000", n)
	}
	if err := s.add(2, 0.02, 0.005); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ lo, hi int }{{1, 25}, {70, 130}, {440, 560}, {1000, 1000}} {
		if n := s.share(2); n < want.lo || n > want.hi {
			t.Fatalf("version 2 serves %d of 1000, want %d to %d", n, want.lo, want.hi)
		}
		s.now = s.now.Add(-12 * time.Hour)
		if _, changed := s.advance(); changed {
			t.Fatal("a stage ended after half of its time")
		}
		s.now = s.now.Add(-12 * time.Hour)
		s.advance()
	}
	s.must(func(tx store.Tx) error {
		rec, _, err := s.For(tx, "m", "any")
		if err == nil && !ed25519.Verify(s.pub, rec.Signed[ed25519.SignatureSize:], rec.Signed[:ed25519.SignatureSize]) {
			t.Error("what hubs are sent is not signed")
		}
		if err == nil {
			_, err = risk.Decode(rec.Signed[ed25519.SignatureSize:])
		}
		return err
	})
}

func TestACandidateThatIsNoBetterIsRefused(t *testing.T) {
	s := newShelf(t)
	if err := s.add(1, 0, 0); err != nil {
		t.Fatal(err)
	}
	for v, c := range [][2]float64{{-0.01, 0.001}, {0.01, 0.006}, {0, 0}} {
		if err := s.add(uint64(v+2), c[0], c[1]); !errors.Is(err, ErrNotBetter) {
			t.Errorf("gain %v, doubt %v: err = %v", c[0], c[1], err)
		}
	}
	if n := s.share(1); n != 1000 {
		t.Fatalf("version 1 serves %d of 1000", n)
	}
	if err := s.add(2, 1, 0.1); !errors.Is(err, store.ErrExists) {
		t.Fatal("a version was entered twice")
	}
}

func TestADriftingModelIsRolledBack(t *testing.T) {
	for _, c := range []struct {
		name   string
		faults int // of 1000 predictions at 5 %
		back   bool
	}{
		{"as many faults as predicted", 52, false},
		{"far more faults than predicted", 140, true},
		{"hardly any", 5, true},
		{"more, but not half as many again", 70, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newShelf(t)
			if err := errors.Join(s.add(1, 0, 0), s.add(2, 1, 0.1)); err != nil {
				t.Fatal(err)
			}
			s.observe(2, 0.05, c.faults, 1000)
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
	if err := s.add(1, 0, 0); err != nil {
		t.Fatal(err)
	}
	s.observe(1, 0.05, 300, 1000)
	if rec, changed := s.advance(); changed {
		t.Fatalf("the only model there is was changed: %+v", rec)
	}
	if err := s.add(2, 1, 0.1); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.advance()
	}
	if n := s.share(2); n != 1000 {
		t.Fatalf("version 2 serves %d of 1000", n)
	}
	s.observe(2, 0.05, 300, 1000)
	if rec, changed := s.advance(); !changed || rec.Version != 2 || rec.State != RolledBack || s.share(1) != 1000 {
		t.Fatalf("%+v, changed %v, version 1 serves %d", rec, changed, s.share(1))
	}
}
