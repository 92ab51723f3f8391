package desk

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

var tickets = store.NewTable("tickets", store.Spec[cloud.Ticket]{
	Key:   store.Columns{store.Text("home"), store.Text("ticket")},
	KeyOf: func(t *cloud.Ticket) store.Key { return store.Key{t.Home, t.ID} },
	Indexes: []store.Index[cloud.Ticket]{
		{
			Name: "by_ticket",
			On:   store.Columns{store.Text("ticket")},
			Of:   func(t *cloud.Ticket) store.Key { return store.Key{t.ID} },
		},
		{
			Name: "by_state",
			On:   store.Columns{store.Text("state"), store.Time("opened")},
			Of:   func(t *cloud.Ticket) store.Key { return store.Key{t.State, t.Opened} },
		},
		{
			Name: "by_problem",
			On:   store.Columns{store.Text("problem")},
			Of: func(t *cloud.Ticket) store.Key {
				if t.Problem == "" {
					return nil
				}
				return store.Key{t.Problem}
			},
		},
	},
})

// titlePrefix marks a title that is a message key: the code of a diagnosis in words.
const titlePrefix = "code."

// TitleFor is the title of a ticket about what a diagnosis found.
func TitleFor(code string) string { return titlePrefix + code }

// Title says a ticket's title in a language.
func Title(lang string, t *cloud.Ticket) string {
	code, ok := strings.CutPrefix(t.Title, titlePrefix)
	if !ok {
		return t.Title
	}
	words := timeline.Word(lang, "code", code)
	first, size := utf8.DecodeRuneInString(words)
	return string(unicode.ToUpper(first)) + words[size:]
}

// Open returns the entry that opens a ticket by a person's hand. The title is free text.
func Open(home, device, title string, actor cloud.Ref) (cloud.Entry, error) {
	title = strings.TrimSpace(title)
	if title == "" || len(title) > 200 {
		return cloud.Entry{}, cloud.Invalid("title", "want 1 to 200 bytes, got %d", len(title))
	}
	return Opening(home, device, title, protocol.SegmentUnknown, actor), nil
}

// Opening returns the entry that opens a ticket.
func Opening(home, device, title string, segment protocol.Segment, actor cloud.Ref) cloud.Entry {
	id := cloud.NewID()
	e := cloud.Entry{
		Home: home, Kind: cloud.KindTicketOpened, Actor: actor,
		Subjects: []cloud.Ref{{Type: cloud.RefTicket, ID: id}},
		Args:     map[string]string{"ticket": id, "title": title, "segment": string(segment)},
	}
	if device != "" {
		e.Subjects = append(e.Subjects, cloud.Ref{Type: cloud.RefDevice, ID: device})
	}
	return e
}

// Opened is the reaction to ticket.opened: it writes the head of the ticket.
func Opened(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	t := cloud.Ticket{
		ID: e.Args["ticket"], Home: e.Home, Device: e.Subject(cloud.RefDevice), Title: e.Args["title"],
		State: cloud.TicketOpen, Segment: protocol.Segment(e.Args["segment"]), Problem: e.Subject(cloud.RefProblem),
		Opened: e.At, Because: e.Because,
	}
	if t.Because == nil {
		t.Because = []protocol.EntryID{}
	}
	if e.Actor.Type == cloud.RefStaff {
		t.Owner = e.Actor.ID
	}
	return nil, tickets.Insert(tx, &t)
}

// Closed is the reaction to ticket.closed: it closes the head of the ticket.
func Closed(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	t, err := tickets.Get(tx, e.Home, e.Args["ticket"])
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t.State, t.Closed = cloud.TicketSolved, &e.At
	return nil, tickets.Put(tx, &t)
}

// Note returns the entry of a note on a ticket, written by a person.
func Note(t *cloud.Ticket, text string, actor cloud.Ref) (cloud.Entry, error) {
	e := about(t, cloud.KindTicketNote, actor)
	text = strings.TrimSpace(text)
	if text == "" || len(text) > MaxText {
		return e, cloud.Invalid("text", "want 1 to %d bytes, got %d", MaxText, len(text))
	}
	e.Args["text"] = text
	return e, nil
}

// Close returns the entry that closes a ticket, with the reason in words.
func Close(t *cloud.Ticket, reason string, actor cloud.Ref) (cloud.Entry, error) {
	if t.State == cloud.TicketSolved {
		return cloud.Entry{}, cloud.Errorf(cloud.CodeConflict, "the ticket is closed already")
	}
	e := about(t, cloud.KindTicketClosed, actor)
	reason = strings.TrimSpace(reason)
	if reason == "" || len(reason) > MaxText {
		return e, cloud.Invalid("text", "want 1 to %d bytes, got %d", MaxText, len(reason))
	}
	e.Args["reason"] = reason
	return e, nil
}

func about(t *cloud.Ticket, kind cloud.Kind, actor cloud.Ref) cloud.Entry {
	e := cloud.Entry{
		Home: t.Home, Kind: kind, Actor: actor,
		Subjects: []cloud.Ref{{Type: cloud.RefTicket, ID: t.ID}},
		Args:     map[string]string{"ticket": t.ID},
		Because:  t.Because[:min(len(t.Because), protocol.MaxCauses)],
	}
	if t.Device != "" {
		e.Subjects = append(e.Subjects, cloud.Ref{Type: cloud.RefDevice, ID: t.Device})
	}
	return e
}

// Ticket returns a ticket wherever its home is, or store.ErrNotFound.
func Ticket(tx store.Tx, id string) (cloud.Ticket, error) {
	for t, err := range tickets.Scan(tx, store.Range{Index: "by_ticket", Prefix: store.Key{id}, Limit: 1}) {
		return t, err
	}
	return cloud.Ticket{}, store.ErrNotFound
}

// Take makes a person the owner of a ticket.
func Take(tx store.Tx, id, staff string) (cloud.Ticket, error) {
	t, err := Ticket(tx, id)
	if err != nil {
		return t, err
	}
	if t.State == cloud.TicketSolved {
		return t, cloud.Errorf(cloud.CodeConflict, "the ticket is closed already")
	}
	t.Owner = staff
	timeline.Touch(tx, t.Home)
	return t, tickets.Put(tx, &t)
}

// OfHome returns the tickets of a home, those not solved first, newest first.
func OfHome(tx store.Tx, home string) ([]cloud.Ticket, error) {
	out := []cloud.Ticket{}
	for t, err := range tickets.Scan(tx, store.Range{Prefix: store.Key{home}, Reverse: true, Limit: 200}) {
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	slices.SortStableFunc(out, func(a, b cloud.Ticket) int {
		if solved := b2i(a.State == cloud.TicketSolved) - b2i(b.State == cloud.TicketSolved); solved != 0 {
			return solved
		}
		return b.Opened.Compare(a.Opened)
	})
	return out, nil
}

// OfDevice returns the open ticket of a device that the service itself opened, or "".
func OfDevice(tx store.Tx, home, device string) (id string, err error) {
	for t, err := range tickets.Scan(tx, store.Range{Prefix: store.Key{home}, Reverse: true, Limit: 200}) {
		if err != nil {
			return "", err
		}
		if t.Device == device && t.State != cloud.TicketSolved {
			return t.ID, nil
		}
	}
	return "", nil
}

// OfProblem returns up to limit tickets that belong to a problem.
func OfProblem(tx store.Tx, problem string, limit int) ([]cloud.Ticket, error) {
	out := []cloud.Ticket{}
	for t, err := range tickets.Scan(tx, store.Range{Index: "by_problem", Prefix: store.Key{problem}, Limit: limit}) {
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// Unsolved returns the tickets of a home that are not solved.
func Unsolved(tx store.Tx, home string) ([]cloud.Ticket, error) {
	all, err := OfHome(tx, home)
	return slices.DeleteFunc(all, func(t cloud.Ticket) bool { return t.State == cloud.TicketSolved }), err
}

// SetProblem says that a ticket belongs to a problem.
func SetProblem(tx store.Tx, home, ticket, problem string) error {
	t, err := tickets.Get(tx, home, ticket)
	if err != nil {
		return err
	}
	t.Problem = problem
	timeline.Touch(tx, home)
	return tickets.Put(tx, &t)
}

// List returns a page of the tickets in one state, newest first.
func List(tx store.Tx, state cloud.TicketState, after store.Cursor, limit int) ([]cloud.Ticket, store.Cursor, error) {
	return tickets.Page(tx, store.Range{Index: "by_state", Prefix: store.Key{state}, Reverse: true, After: after, Limit: limit})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
