// Package notify keeps the customer's inbox: what we found, what we did, and what we ask.
//
// A notice is written by a reaction, in the transaction of the entry it tells about, so nobody is told of
// something that did not happen and nothing that happened goes untold. It is kept as a key with arguments
// and said in the reader's language when it is read.
package notify

import (
	"embed"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

var notices = store.NewTable("notices", store.Spec[cloud.Notice]{
	Key:   store.Columns{store.Text("home"), store.Text("notice")},
	KeyOf: func(n *cloud.Notice) store.Key { return store.Key{n.Home, n.ID} },
	Indexes: []store.Index[cloud.Notice]{{
		Name: "by_time",
		On:   store.Columns{store.Text("home"), store.Time("noticed")},
		Of:   func(n *cloud.Notice) store.Key { return store.Key{n.Home, n.At} },
	}},
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{notices} }

var self = cloud.Ref{Type: cloud.RefService, ID: "notify"}

// Of returns up to limit notices of a home that are not older than since, newest first.
func Of(tx store.Tx, home string, since time.Time, limit int) ([]cloud.Notice, error) {
	out := []cloud.Notice{}
	for n, err := range notices.Scan(tx, store.Range{Index: "by_time", Prefix: store.Key{home}, From: since, Reverse: true, Limit: limit}) {
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// ticketTaken says that a person opened a ticket: the hub found nothing, and nothing was tried.
const ticketTaken = "ticket.taken"

// Tell is the reaction to what a customer should learn: it puts a notice into the inbox, and the entry that
// says so on the timeline.
func Tell(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	key := string(e.Kind)
	if e.Kind == cloud.KindTicketOpened && e.Actor.Type == cloud.RefStaff {
		key = ticketTaken
	}
	switch {
	case !texts().Has("title." + key):
		return nil, errors.New("notify has no words for " + key)
	case e.Kind == cloud.KindSessionClosed && !wasOpen(e):
		return nil, nil // nothing came of it, so there is nothing to tell
	case (e.Kind == cloud.KindTicketOpened || e.Kind == cloud.KindTicketClosed) && e.Subject(cloud.RefProblem) != "":
		return nil, nil // the customer hears of the problem, once, and not of its paperwork too
	}
	n := cloud.Notice{ID: "notice-" + noDots(e.ID), Home: e.Home, Key: key, Args: e.Args, At: e.At, Entry: e.ID, Resolved: e.Kind != cloud.KindTicketOpened}
	if err := notices.Put(tx, &n); err != nil {
		return nil, err
	}
	told := cloud.Entry{
		Kind: cloud.KindCustomerTold, Actor: self,
		Subjects: []cloud.Ref{{Type: cloud.RefNotice, ID: n.ID}},
		Args:     map[string]string{"notice": key},
	}
	for _, r := range e.Subjects {
		if r.Type == cloud.RefDevice || r.Type == cloud.RefTicket || r.Type == cloud.RefProblem {
			told.Subjects = append(told.Subjects, r)
		}
	}
	out := []cloud.Entry{told}
	if e.Kind == cloud.KindTicketClosed {
		return out, resolve(tx, e.Home, func(n *cloud.Notice) bool {
			return n.Consent == nil && n.Args["ticket"] == e.Args["ticket"] // a question is settled by its answer
		})
	}
	return out, nil
}

func wasOpen(e *cloud.Entry) bool {
	switch e.Args["reason"] {
	case "refused", "unanswered", "failed":
		return false
	}
	return true
}

// Ask is the reaction to customer.asked: it puts the question into the inbox.
func Ask(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	until, err := time.Parse(time.RFC3339, e.Args["until"])
	if err != nil {
		return nil, err
	}
	n := cloud.Notice{
		ID: "notice-" + noDots(e.ID), Home: e.Home, Key: string(e.Kind), Args: e.Args, At: e.At, Entry: e.ID,
		Consent: &cloud.Consent{
			Request: e.Args["request"], What: strings.Split(e.Args["what"], ","), Session: e.Args["session"],
			State: "asked", Until: until,
		},
	}
	return nil, notices.Put(tx, &n)
}

// Answered is the reaction to an answer, and to the end of what was asked for: the question is settled.
func Answered(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	return nil, resolve(tx, e.Home, func(n *cloud.Notice) bool {
		return n.Consent != nil && n.Consent.Session == e.Args["session"]
	})
}

// resolve settles the open notices that match; only those of the last day can be open questions, and only
// a few tickets are open at a time, so a look at the newest suffices.
func resolve(tx store.Tx, home string, match func(*cloud.Notice) bool) error {
	var found []cloud.Notice
	for n, err := range notices.Scan(tx, store.Range{Index: "by_time", Prefix: store.Key{home}, Reverse: true, Limit: 500}) {
		if err != nil {
			return err
		}
		if !n.Resolved && match(&n) {
			found = append(found, n)
		}
	}
	for _, n := range found {
		n.Resolved = true
		if err := notices.Put(tx, &n); err != nil {
			return err
		}
	}
	return nil
}

// noDots makes an id of an entry's id, which has dots when a device minted it.
func noDots(id protocol.EntryID) string { return strings.ReplaceAll(string(id), ".", "_") }

//go:embed messages/*.json
var messages embed.FS

var texts = timeline.Embedded(messages)

// Tone says how a notice feels: "good", "info", "ask" or "bad".
func Tone(n *cloud.Notice) string {
	switch {
	case n.Consent != nil:
		return "ask"
	case slices.Contains([]string{string(protocol.EventFixVerified), string(cloud.KindTicketClosed), string(cloud.KindProblemClosed), string(cloud.KindIncidentClosed)}, n.Key):
		return "good"
	case n.Key == string(cloud.KindTicketOpened), n.Key == string(cloud.KindProblemLinked):
		return "bad"
	}
	return "info"
}

// Text says a notice in a language: a short title, and what we found, did or ask.
func Text(lang string, n *cloud.Notice) (title, text string) {
	args := map[string]string{}
	for k, v := range n.Args {
		args[k] = v
	}
	if s := protocol.Segment(args["segment"]); s == protocol.SegmentUnknown || s == protocol.SegmentNone {
		delete(args, "segment")
	}
	return texts().Say(lang, "title."+n.Key, args), texts().Say(lang, "text."+n.Key, args)
}
