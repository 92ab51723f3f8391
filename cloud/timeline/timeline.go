// Package timeline is the one log of a home: everything that a person may want explained, in the order it
// happened, each entry naming its causes.
//
// Append writes an entry and runs the reactions that were registered for its kind, in the same
// transaction, until nothing new follows. So what must follow from a fact follows exactly when the fact is
// durable: there is no second log and no message between the two that could be lost.
//
//	symptom.seen -> fix.chosen -> command.sent -> fix.applied -> fix.verified -> customer.told
//
// "Why did this happen?" is a walk from an entry along Because; see Why.
package timeline

import (
	"errors"
	"fmt"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// entries stands in the order in which a page shows it, so that a page is one range of neighbouring rows.
var entries = store.NewTable("entries", store.Spec[cloud.Entry]{
	Key:   store.Columns{store.Text("home"), store.Time("happened"), store.Text("entry")},
	KeyOf: func(e *cloud.Entry) store.Key { return store.Key{e.Home, e.At, e.ID} },
	Indexes: []store.Index[cloud.Entry]{{
		Name: "by_id",
		On:   store.Columns{store.Text("home"), store.Text("entry")},
		Of:   func(e *cloud.Entry) store.Key { return store.Key{e.Home, e.ID} },
	}},
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{entries} }

// Reaction says what follows from an entry. It may read and write rows of the entry's home through tx,
// and returns the entries that follow; those that name no cause get e as theirs. It may run more than once
// for one entry, of which only one run counts: it must have no effect but its writes. An error fails the
// whole transaction.
type Reaction func(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error)

// Rule binds a reaction to a kind. Name says what it does, for errors and for the table in cloud/app.
type Rule struct {
	On   cloud.Kind
	Name string
	Do   Reaction
}

// MaxFollowing is how many entries may follow from one: a chain that does not end is a defect, and must
// not fill the disk.
const MaxFollowing = 64

// ErrRunaway is returned by Append when more than MaxFollowing entries followed from one.
var ErrRunaway = errors.New("timeline: reactions do not come to an end")

// Log appends to timelines. It is safe for concurrent use.
type Log struct {
	now   func() time.Time
	rules map[cloud.Kind][]Rule
}

// New returns a Log with its rules, which run in the given order. A nil now is time.Now.
func New(now func() time.Time, rules ...Rule) *Log {
	if now == nil {
		now = time.Now
	}
	l := &Log{now: now, rules: map[cloud.Kind][]Rule{}}
	for _, r := range rules {
		l.rules[r.On] = append(l.rules[r.On], r)
	}
	return l
}

// Append writes e and all that follows from it. An entry that is there already stays as it is and nothing
// follows again, so a caller may repeat itself. Zero times are filled in; the id may be left empty for one
// minted here.
func (l *Log) Append(tx store.Tx, e cloud.Entry) error {
	home := e.Home
	for queue, n := []cloud.Entry{e}, 0; len(queue) > 0; n++ {
		if n > MaxFollowing {
			return fmt.Errorf("%w: more than %d entries from %s", ErrRunaway, MaxFollowing, e.Kind)
		}
		next := queue[0]
		queue = queue[1:]
		if next.Home != home {
			return fmt.Errorf("timeline: %s of home %q follows from an entry of home %q", next.Kind, next.Home, home)
		}
		fresh, err := l.write(tx, &next)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		for _, r := range l.rules[next.Kind] {
			following, err := r.Do(tx, &next)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", r.Name, next.Kind, err)
			}
			for _, f := range following {
				if f.Home == "" {
					f.Home = home
				}
				if len(f.Because) == 0 {
					f.Because = []protocol.EntryID{next.ID}
				}
				queue = append(queue, f)
			}
		}
	}
	Touch(tx, home)
	return nil
}

// write fills in what is missing and inserts the entry; fresh is false when its id is there already.
func (l *Log) write(tx store.Tx, e *cloud.Entry) (fresh bool, err error) {
	if e.Home == "" || e.Kind == "" || e.Actor.Type == "" {
		return false, fmt.Errorf("timeline: entry %s of kind %q wants a home and an actor", e.ID, e.Kind)
	}
	e.Recorded = l.now().UTC()
	if e.ID == "" {
		e.ID = protocol.EntryID(cloud.NewID())
	} else if _, err := Get(tx, e.Home, e.ID); err == nil {
		return false, nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	if e.At.IsZero() {
		e.At = e.Recorded
	}
	// An effect is never shown before its cause: a device's clock is corrected to within its round trip
	// only, so the cloud's own entries may have to step behind the device's that they follow from.
	e.At = e.At.UTC()
	for _, id := range e.Because {
		if c, err := Get(tx, e.Home, id); err == nil && !e.At.After(c.At) {
			e.At = c.At.Add(time.Microsecond)
		} else if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, err
		}
	}
	if err := entries.Insert(tx, e); err != nil {
		return false, fmt.Errorf("append %s to home %s: %w", e.Kind, e.Home, err)
	}
	return true, nil
}

// Get returns one entry of a home, or store.ErrNotFound.
func Get(tx store.Tx, home string, id protocol.EntryID) (cloud.Entry, error) {
	for e, err := range entries.Scan(tx, store.Range{Index: "by_id", Prefix: store.Key{home, id}, Limit: 1}) {
		return e, err
	}
	return cloud.Entry{}, store.ErrNotFound
}

// Page returns up to limit entries of a home, newest first, and the cursor for the older ones after them.
func Page(tx store.Tx, home string, after store.Cursor, limit int) ([]cloud.Entry, store.Cursor, error) {
	return entries.Page(tx, store.Range{Prefix: store.Key{home}, Reverse: true, Limit: limit, After: after})
}

// Since returns up to limit entries of a home that happened at or after from, oldest first.
func Since(tx store.Tx, home string, from time.Time, limit int) ([]cloud.Entry, error) {
	page, _, err := entries.Page(tx, store.Range{Prefix: store.Key{home}, From: from, Limit: limit})
	return page, err
}

// MaxWhy bounds the walk of Why, in entries.
const MaxWhy = 256

// Why returns an entry and everything it follows from, causes behind effects, the entry itself first and
// each entry once: the walk along Because to its roots. A cause that is on no timeline (a device's entry
// that was lost with its flash) is left out; the entry that names it still does.
func Why(tx store.Tx, home string, id protocol.EntryID) ([]cloud.Entry, error) {
	first, err := Get(tx, home, id)
	if err != nil {
		return nil, err
	}
	chain := []cloud.Entry{first}
	seen := map[protocol.EntryID]bool{id: true}
	for at := 0; at < len(chain) && len(chain) < MaxWhy; at++ {
		for _, cause := range chain[at].Because {
			if seen[cause] {
				continue
			}
			seen[cause] = true
			e, err := Get(tx, home, cause)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			chain = append(chain, e)
		}
	}
	return chain, nil
}

// Touch marks a home as changed, so that screens that show it are woken once the transaction has been
// committed. Append does it for entries; other packages do it for the rows they show.
func Touch(tx store.Tx, home string) {
	if t, ok := tx.(interface{ Touch(home string) }); ok {
		t.Touch(home)
	}
}
