// Package session keeps remote sessions and the customer's consent to them.
//
//	session.asked -> customer.asked -> consent.given -> command -> session.started -> session.opened
//	                              \-> consent.refused, or no answer ----> session.closed
//	        any time: closed by support, consent withdrawn, ended by the hub, time is up -> session.closed
//
// Where the tenant's policy says so, a session that may only diagnose goes without asking.
package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// What a session may be allowed to do.
const (
	AllowDiagnose = "diagnose"
	AllowMetrics  = "metrics"
)

// Reasons for which a session is closed.
const (
	ReasonStaff      = "staff"
	ReasonConsent    = "consent"    // it was withdrawn
	ReasonRefused    = "refused"    // it was never given
	ReasonUnanswered = "unanswered" // nobody answered in time
	ReasonDevice     = "device"
	ReasonExpired    = "expired"
	ReasonFailed     = "failed"
)

// Queues of the package.
const (
	QueueTimeout = "session-timeout" // for Keeper.Timeout
	QueueEnd     = "session-end"     // tell the device that a session is over; the payload is an End
)

// Life bounds sessions and unanswered requests.
const (
	MaxLife    = 30 * time.Minute
	AnswerLife = 10 * time.Minute
)

// Commander sends the signed command by which a device joins a session, as a consequence of an entry.
type Commander interface {
	Assist(tx store.Tx, s cloud.Session, ends time.Time, because protocol.EntryID) (command string, err error)
	// SessionOf returns the session that the command of an entry was for, or "".
	SessionOf(tx store.Tx, e *cloud.Entry) (session string, err error)
}

// Options configures a Keeper. Commander is required.
type Options struct {
	Commander        Commander
	DiagnosisUnasked bool             // policy: a session that may only diagnose needs no consent
	Now              func() time.Time // nil is time.Now
}

// Keeper keeps sessions. It is safe for concurrent use.
type Keeper struct{ opts Options }

// New returns a Keeper.
func New(opts Options) *Keeper {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	return &Keeper{opts}
}

var sessions = store.NewTable("sessions", store.Spec[cloud.Session]{
	Key:   store.Columns{store.Text("home"), store.Text("session")},
	KeyOf: func(s *cloud.Session) store.Key { return store.Key{s.Home, s.ID} },
	Indexes: []store.Index[cloud.Session]{{
		Name: "by_session",
		On:   store.Columns{store.Text("session")},
		Of:   func(s *cloud.Session) store.Key { return store.Key{s.ID} },
	}},
})

// consent is a cloud.Consent with its place.
type consent struct {
	cloud.Consent
	Home string `json:"home"`
}

var consents = store.NewTable("consents", store.Spec[consent]{
	Key:   store.Columns{store.Text("home"), store.Text("request")},
	KeyOf: func(c *consent) store.Key { return store.Key{c.Home, c.Request} },
	Indexes: []store.Index[consent]{{
		Name: "by_request",
		On:   store.Columns{store.Text("request")},
		Of:   func(c *consent) store.Key { return store.Key{c.Request} },
	}},
})

// Tables is what the package keeps.
func Tables() []store.Declared { return []store.Declared{sessions, consents} }

// Ask writes a new session of a device and returns it with the entry that asks for it. A device has one
// session at a time.
func (k *Keeper) Ask(tx store.Tx, d cloud.Device, ticket string, allow []string, staff cloud.Ref) (cloud.Session, cloud.Entry, error) {
	allow = slices.Compact(slices.Sorted(slices.Values(allow)))
	for _, a := range allow {
		if a != AllowDiagnose && a != AllowMetrics {
			return cloud.Session{}, cloud.Entry{}, cloud.Invalid("allow", "want %s or %s", AllowDiagnose, AllowMetrics)
		}
	}
	if len(allow) == 0 {
		return cloud.Session{}, cloud.Entry{}, cloud.Invalid("allow", "a session that allows nothing serves nobody")
	}
	open, err := OfHome(tx, d.Home)
	if err != nil {
		return cloud.Session{}, cloud.Entry{}, err
	}
	for _, s := range open {
		if s.Device == d.ID && s.State != "closed" {
			return s, cloud.Entry{}, cloud.Errorf(cloud.CodeConflict, "this device has a remote session already; close it first")
		}
	}
	s := cloud.Session{
		ID: cloud.NewID(), Home: d.Home, Device: d.ID, Ticket: ticket, Staff: staff.ID, Allow: allow,
		State: "waiting", Asked: k.opts.Now().UTC(),
	}
	if err := sessions.Put(tx, &s); err != nil {
		return s, cloud.Entry{}, err
	}
	e := entry(&s, cloud.KindSessionAsked, staff, nil)
	e.ID = requestedID(s.ID)
	if ticket != "" {
		e.Subjects = append(e.Subjects, cloud.Ref{Type: cloud.RefTicket, ID: ticket})
	}
	return s, e, nil
}

// Get returns a session wherever its home is, or store.ErrNotFound.
func Get(tx store.Tx, id string) (cloud.Session, error) {
	for s, err := range sessions.Scan(tx, store.Range{Index: "by_session", Prefix: store.Key{id}, Limit: 1}) {
		return s, err
	}
	return cloud.Session{}, store.ErrNotFound
}

// OfHome returns the sessions of a home, newest first.
func OfHome(tx store.Tx, home string) ([]cloud.Session, error) {
	out := []cloud.Session{}
	for s, err := range sessions.Scan(tx, store.Range{Prefix: store.Key{home}, Reverse: true, Limit: 100}) {
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// ConsentOf returns the consent to a session; ok is false when none was needed.
func ConsentOf(tx store.Tx, s *cloud.Session) (c cloud.Consent, ok bool, err error) {
	row, err := consents.Get(tx, s.Home, request(s.ID))
	if errors.Is(err, store.ErrNotFound) {
		return c, false, nil
	}
	return row.Consent, err == nil, err
}

// request is the id of the consent to a session: each is asked for once.
func request(session string) string { return "consent-" + session }

// Consent returns a consent by its request, with its home, or store.ErrNotFound.
func Consent(tx store.Tx, id string) (c cloud.Consent, home string, err error) {
	for row, err := range consents.Scan(tx, store.Range{Index: "by_request", Prefix: store.Key{id}, Limit: 1}) {
		return row.Consent, row.Home, err
	}
	return c, "", store.ErrNotFound
}

// Answer records the customer's answer, "given", "refused" or "withdrawn", and returns the entry that says
// so. An answer that the state does not allow is refused: what was refused stays so.
func (k *Keeper) Answer(tx store.Tx, id, answer, customer string) (cloud.Entry, error) {
	c, home, err := Consent(tx, id)
	if err != nil {
		return cloud.Entry{}, err
	}
	now := k.opts.Now().UTC()
	kind := map[string]cloud.Kind{"given": cloud.KindConsentGiven, "refused": cloud.KindConsentRefused, "withdrawn": cloud.KindConsentEnded}[answer]
	before := "asked"
	if answer == "withdrawn" {
		before = "given"
	}
	switch {
	case kind == "":
		return cloud.Entry{}, cloud.Invalid("answer", "want given, refused or withdrawn")
	case c.State == answer:
		return cloud.Entry{}, cloud.Errorf(cloud.CodeConflict, "this was answered so before")
	case c.State != before:
		return cloud.Entry{}, cloud.Errorf(cloud.CodeConflict, "the request is %s; it cannot be %s now", c.State, answer)
	case answer == "given" && now.After(c.Until):
		return cloud.Entry{}, cloud.Errorf(cloud.CodeConflict, "the request is over")
	}
	c.State, c.At = answer, &now
	if err := consents.Put(tx, &consent{c, home}); err != nil {
		return cloud.Entry{}, err
	}
	s, err := sessions.Get(tx, home, c.Session)
	if err != nil {
		return cloud.Entry{}, err
	}
	e := entry(&s, kind, cloud.Ref{Type: cloud.RefCustomer, ID: customer}, map[string]string{"request": id})
	e.Because = []protocol.EntryID{askedID(s.ID)}
	return e, nil
}

// Ids of a session's entries that are written at most once.
func requestedID(session string) protocol.EntryID { return protocol.EntryID(session + "-asked") }

func askedID(session string) protocol.EntryID  { return protocol.EntryID(session + "-customer-asked") }
func closedID(session string) protocol.EntryID { return protocol.EntryID(session + "-closed") }
func openedID(session string) protocol.EntryID { return protocol.EntryID(session + "-opened") }

func entry(s *cloud.Session, kind cloud.Kind, actor cloud.Ref, args map[string]string) cloud.Entry {
	e := cloud.Entry{
		Home: s.Home, Kind: kind, Actor: actor,
		Subjects: []cloud.Ref{{Type: cloud.RefSession, ID: s.ID}, {Type: cloud.RefDevice, ID: s.Device}},
		Args:     map[string]string{"session": s.ID},
	}
	for k, v := range args {
		e.Args[k] = v
	}
	return e
}

var self = cloud.Ref{Type: cloud.RefService, ID: "session"}

// End is the payload of QueueEnd.
type End struct {
	Device, Session, Reason string
}

func enqueue(tx store.Tx, queue, id string, due time.Time, payload any) error {
	b, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", queue, err)
	}
	return store.Enqueue(tx, store.Job{Queue: queue, ID: id, Payload: b, Due: due})
}
