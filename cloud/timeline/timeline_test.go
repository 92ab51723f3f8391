package timeline_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

const tenant = "acme"

var service = cloud.Ref{Type: cloud.RefService, ID: "test"}

func openDB(t *testing.T) store.DB {
	t.Helper()
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "db")}, timeline.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func update(t *testing.T, db store.DB, fn func(tx store.Tx) error) error {
	t.Helper()
	return db.Update(context.Background(), tenant, fn)
}

func page(t *testing.T, db store.DB, home string) []cloud.Entry {
	t.Helper()
	var got []cloud.Entry
	err := db.View(context.Background(), tenant, func(tx store.Tx) (err error) {
		got, _, err = timeline.Page(tx, home, "", 100)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func follow(kind cloud.Kind) timeline.Reaction {
	return func(store.Tx, *cloud.Entry) ([]cloud.Entry, error) {
		return []cloud.Entry{{Kind: kind, Actor: service}}, nil
	}
}

func TestWhatFollowsIsWrittenInTheSameTransactionAndNamesItsCause(t *testing.T) {
	db := openDB(t)
	log := timeline.New(nil,
		timeline.Rule{On: "a.seen", Name: "first", Do: follow("b.done")},
		timeline.Rule{On: "b.done", Name: "second", Do: follow("c.told")},
	)
	err := update(t, db, func(tx store.Tx) error {
		return log.Append(tx, cloud.Entry{ID: "root", Home: "h1", Kind: "a.seen", Actor: service})
	})
	if err != nil {
		t.Fatal(err)
	}
	got := page(t, db, "h1")
	var kinds []string
	for _, e := range got {
		kinds = append(kinds, string(e.Kind))
	}
	if want := []string{"c.told", "b.done", "a.seen"}; !slices.Equal(kinds, want) {
		t.Fatalf("timeline shows %v, want %v", kinds, want)
	}
	if got[1].Because[0] != "root" || got[0].Because[0] != got[1].ID {
		t.Errorf("causes are %v and %v", got[1].Because, got[0].Because)
	}
}

func TestAnEntryThatIsThereAlreadyStaysAndNothingFollowsAgain(t *testing.T) {
	db := openDB(t)
	log := timeline.New(nil, timeline.Rule{On: "a.seen", Name: "first", Do: follow("b.done")})
	for range 3 {
		err := update(t, db, func(tx store.Tx) error {
			return log.Append(tx, cloud.Entry{ID: "dev.1.1", Home: "h1", Kind: "a.seen", Actor: service})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(page(t, db, "h1")); n != 2 {
		t.Errorf("%d entries after the same one came three times, want 2", n)
	}
}

func TestAReactionThatFailsLeavesNothingBehind(t *testing.T) {
	db := openDB(t)
	broken := errors.New("broken")
	log := timeline.New(nil,
		timeline.Rule{On: "a.seen", Name: "first", Do: follow("b.done")},
		timeline.Rule{On: "b.done", Name: "second", Do: func(store.Tx, *cloud.Entry) ([]cloud.Entry, error) { return nil, broken }},
	)
	err := update(t, db, func(tx store.Tx) error {
		return log.Append(tx, cloud.Entry{Home: "h1", Kind: "a.seen", Actor: service})
	})
	if !errors.Is(err, broken) {
		t.Fatalf("got %v, want the reaction's error", err)
	}
	if n := len(page(t, db, "h1")); n != 0 {
		t.Errorf("%d entries were kept of a transaction that failed", n)
	}
}

func TestReactionsThatFeedEachOtherAreStopped(t *testing.T) {
	db := openDB(t)
	log := timeline.New(nil,
		timeline.Rule{On: "a.seen", Name: "ping", Do: follow("b.done")},
		timeline.Rule{On: "b.done", Name: "pong", Do: follow("a.seen")},
	)
	err := update(t, db, func(tx store.Tx) error {
		return log.Append(tx, cloud.Entry{Home: "h1", Kind: "a.seen", Actor: service})
	})
	if !errors.Is(err, timeline.ErrRunaway) {
		t.Errorf("got %v, want ErrRunaway", err)
	}
}

func TestNothingFollowsInAnotherHome(t *testing.T) {
	db := openDB(t)
	log := timeline.New(nil, timeline.Rule{On: "a.seen", Name: "stray", Do: func(store.Tx, *cloud.Entry) ([]cloud.Entry, error) {
		return []cloud.Entry{{Home: "h2", Kind: "b.done", Actor: service}}, nil
	}})
	err := update(t, db, func(tx store.Tx) error {
		return log.Append(tx, cloud.Entry{Home: "h1", Kind: "a.seen", Actor: service})
	})
	if err == nil {
		t.Error("an entry of another home was accepted")
	}
}

func TestAnEffectIsNeverShownBeforeItsCause(t *testing.T) {
	db := openDB(t)
	log := timeline.New(nil)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	err := update(t, db, func(tx store.Tx) error {
		if err := log.Append(tx, cloud.Entry{ID: "cause", Home: "h1", Kind: "a.seen", Actor: service, At: at}); err != nil {
			return err
		}
		return log.Append(tx, cloud.Entry{
			ID: "effect", Home: "h1", Kind: "b.done", Actor: service, At: at.Add(-time.Second),
			Because: []protocol.EntryID{"cause"},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := page(t, db, "h1"); got[0].ID != "effect" || got[1].ID != "cause" {
		t.Errorf("newest first is %s, %s", got[0].ID, got[1].ID)
	}
}

func TestWhyWalksToTheRootsAndMeetsEachEntryOnce(t *testing.T) {
	db := openDB(t)
	log := timeline.New(nil)
	edges := []struct{ id, because string }{{"root", ""}, {"left", "root"}, {"right", "root"}, {"end", "left right lost"}, {"other", ""}}
	err := update(t, db, func(tx store.Tx) error {
		for _, x := range edges {
			var because []protocol.EntryID
			for _, id := range slices.Collect(words(x.because)) {
				because = append(because, protocol.EntryID(id))
			}
			if err := log.Append(tx, cloud.Entry{ID: protocol.EntryID(x.id), Home: "h1", Kind: "a.seen", Actor: service, Because: because}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	err = db.View(context.Background(), tenant, func(tx store.Tx) error {
		chain, err := timeline.Why(tx, "h1", "end")
		for _, e := range chain {
			ids = append(ids, string(e.ID))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"end", "left", "right", "root"}; !slices.Equal(ids, want) {
		t.Errorf("why walks %v, want %v", ids, want)
	}
}

func TestPagesOfATimelineMeetEveryEntryOnceNewestFirst(t *testing.T) {
	db := openDB(t)
	log := timeline.New(nil)
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	err := update(t, db, func(tx store.Tx) error {
		for i := range 120 {
			for _, home := range []string{"h1", "h2"} { // a neighbour must not show through
				e := cloud.Entry{ID: protocol.EntryID(fmt.Sprintf("%s-%03d", home, i)), Home: home, Kind: "a.seen", Actor: service, At: start.Add(time.Duration(i/3) * time.Second)}
				if err := log.Append(tx, e); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []cloud.Entry
	for cursor, turns := store.Cursor(""), 0; ; turns++ {
		err := db.View(context.Background(), tenant, func(tx store.Tx) error {
			p, next, err := timeline.Page(tx, "h1", cursor, 50)
			got, cursor = append(got, p...), next
			return err
		})
		if err != nil || turns > 5 {
			t.Fatal(err, turns)
		}
		if cursor == "" {
			break
		}
	}
	if len(got) != 120 {
		t.Fatalf("pages hold %d entries, want 120", len(got))
	}
	for i := range got[1:] {
		if got[i].At.Before(got[i+1].At) || got[i].ID == got[i+1].ID {
			t.Fatalf("entry %d (%s) and the next (%s) are out of order", i, got[i].ID, got[i+1].ID)
		}
	}
}
