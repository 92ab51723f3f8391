package ingest

import (
	"slices"

	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// window is what has been committed of one epoch of one lane of a device. It changes in the transaction
// that commits the records, so each is committed once, whichever instance gets it, in whichever order.
type window struct {
	Home      string        `json:"home"`
	Device    string        `json:"device"`
	Lane      protocol.Lane `json:"lane"`
	Epoch     uint64        `json:"epoch"`
	Committed uint64        `json:"committed"`       // every sequence up to here
	Ahead     []span        `json:"ahead,omitempty"` // beyond it: disjoint, ascending, not touching
	Clock     clock         `json:"clock"`
}

// span is a run of sequences, To excluded.
type span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// maxAhead bounds how scattered the committed sequences may be. Two instances that are dealt a device's
// messages in turn leave a hole at every other one: half of the 256 that an agent has under way. What is
// more scattered than this is not a working agent's, and is left for it to send again.
const maxAhead = 1024

// windows has a row for each start of an outbox: they stay, so that a record that a device resends after
// a year of silence is still known.
var windows = store.NewTable("windows", store.Spec[window]{
	Key: store.Columns{store.Text("home"), store.Text("device"), store.Int("lane"), store.Int("epoch")},
	KeyOf: func(w *window) store.Key {
		return store.Key{w.Home, w.Device, w.Lane, w.Epoch}
	},
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{windows} }

// missing returns how many sequences of s are not committed.
func (w *window) missing(s span) uint64 {
	s.From = max(s.From, w.Committed+1)
	if s.From >= s.To {
		return 0
	}
	n := s.To - s.From
	for _, a := range w.Ahead {
		if from, to := max(a.From, s.From), min(a.To, s.To); from < to {
			n -= to - from
		}
	}
	return n
}

// add marks s as committed. It returns false, and changes nothing, when the window would get too scattered.
func (w *window) add(s span) bool {
	if s.From = max(s.From, w.Committed+1); s.From >= s.To {
		return true
	}
	if s.From == w.Committed+1 {
		w.Committed = s.To - 1
	} else {
		// All that s overlaps or touches becomes one with it.
		i := 0
		for i < len(w.Ahead) && w.Ahead[i].To < s.From {
			i++
		}
		j := i
		for j < len(w.Ahead) && w.Ahead[j].From <= s.To {
			s.From, s.To = min(s.From, w.Ahead[j].From), max(s.To, w.Ahead[j].To)
			j++
		}
		if i == j && len(w.Ahead) >= maxAhead {
			return false
		}
		w.Ahead = slices.Replace(w.Ahead, i, j, s)
	}
	for len(w.Ahead) > 0 && w.Ahead[0].From <= w.Committed+1 {
		w.Committed = max(w.Committed, w.Ahead[0].To-1)
		w.Ahead = w.Ahead[1:]
	}
	return true
}
