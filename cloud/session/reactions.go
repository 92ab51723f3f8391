package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// of returns the session that an entry is about; ok is false when it is about none that we know.
func of(tx store.Tx, e *cloud.Entry) (cloud.Session, bool, error) {
	return byID(tx, e.Home, e.Args["session"])
}

func byID(tx store.Tx, home, id string) (s cloud.Session, ok bool, err error) {
	if id == "" {
		return s, false, nil
	}
	s, err = sessions.Get(tx, home, id)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) { // the id may come from a device
		return s, false, nil
	}
	return s, err == nil, err
}

// Asked is the reaction to session.asked: it asks the customer, or goes ahead where policy allows it.
func (k *Keeper) Asked(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	s, ok, err := of(tx, e)
	if !ok || err != nil {
		return nil, err
	}
	if k.opts.DiagnosisUnasked && len(s.Allow) == 1 && s.Allow[0] == AllowDiagnose {
		return nil, k.start(tx, s, e.ID)
	}
	until := s.Asked.Add(AnswerLife)
	c := consent{cloud.Consent{Request: request(s.ID), What: s.Allow, Session: s.ID, State: "asked", Until: until}, s.Home}
	if err := consents.Put(tx, &c); err != nil {
		return nil, err
	}
	if err := enqueue(tx, QueueTimeout, s.ID+"-answer", until, timeout{s.Home, s.ID}); err != nil {
		return nil, err
	}
	ask := entry(&s, cloud.KindCustomerAsked, self, map[string]string{
		"request": c.Request, "what": strings.Join(s.Allow, ","), "until": until.Format(time.RFC3339),
	})
	ask.ID, ask.Because = askedID(s.ID), []protocol.EntryID{e.ID}
	return []cloud.Entry{ask}, nil
}

// Given is the reaction to consent.given: the device is told to join.
func (k *Keeper) Given(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	s, ok, err := of(tx, e)
	if !ok || err != nil || s.State == "closed" {
		return nil, err
	}
	return nil, k.start(tx, s, e.ID)
}

func (k *Keeper) start(tx store.Tx, s cloud.Session, because protocol.EntryID) error {
	ends := k.opts.Now().UTC().Add(MaxLife)
	if _, err := k.opts.Commander.Assist(tx, s, ends, because); err != nil {
		return err
	}
	return enqueue(tx, QueueTimeout, s.ID+"-end", ends, timeout{s.Home, s.ID})
}

// Ended is the reaction to everything that ends a session but session.closed itself: consent refused or
// withdrawn, the hub's own end, a command that was refused or expired.
func (k *Keeper) Ended(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	id := e.Args["session"]
	if id == "" {
		var err error
		if id, err = k.opts.Commander.SessionOf(tx, e); err != nil {
			return nil, err
		}
	}
	s, ok, err := byID(tx, e.Home, id)
	if !ok || err != nil || s.State == "closed" {
		return nil, err
	}
	reason := map[cloud.Kind]string{
		cloud.KindConsentRefused: ReasonRefused, cloud.KindConsentEnded: ReasonConsent, cloud.KindCommandExpired: ReasonFailed,
		cloud.Kind(protocol.EventCommand): ReasonFailed, cloud.Kind(protocol.EventSessionEnded): ReasonDevice,
	}[e.Kind]
	return []cloud.Entry{closing(&s, reason, self, e.ID)}, nil
}

func closing(s *cloud.Session, reason string, actor cloud.Ref, because ...protocol.EntryID) cloud.Entry {
	if len(because) == 0 {
		because = []protocol.EntryID{requestedID(s.ID)}
	}
	e := entry(s, cloud.KindSessionClosed, actor, map[string]string{"reason": reason})
	e.ID, e.Because = closedID(s.ID), because
	return e
}

// Close returns the entry by which a person closes a session; ok is false when it is closed already.
func Close(s *cloud.Session, actor cloud.Ref) (e cloud.Entry, ok bool) {
	return closing(s, ReasonStaff, actor), s.State != "closed"
}

// Opened returns the entry that says that browser and device are connected.
func Opened(s *cloud.Session, actor cloud.Ref) (cloud.Entry, error) {
	if s.State == "closed" {
		return cloud.Entry{}, cloud.Errorf(cloud.CodeConflict, "the session is closed")
	}
	e := entry(s, cloud.KindSessionOpened, actor, nil)
	e.ID, e.Because = openedID(s.ID), []protocol.EntryID{requestedID(s.ID)}
	return e, nil
}

// Closed is the reaction to session.closed: the row is closed, consent is over, and the device is told.
func (k *Keeper) Closed(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	s, ok, err := of(tx, e)
	if !ok || err != nil || s.State == "closed" {
		return nil, err
	}
	s.State, s.Reason, s.Closed = "closed", e.Args["reason"], &e.At
	if err := sessions.Put(tx, &s); err != nil {
		return nil, err
	}
	if c, ok, err := ConsentOf(tx, &s); err != nil {
		return nil, err
	} else if ok && (c.State == "asked" || c.State == "given") {
		c.State = "expired"
		if err := consents.Put(tx, &consent{c, s.Home}); err != nil {
			return nil, err
		}
	}
	return nil, enqueue(tx, QueueEnd, s.ID, time.Time{}, End{s.Device, s.ID, s.Reason})
}

// Started is the reaction to session.started and session.opened: it follows the state.
func (k *Keeper) Started(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	s, ok, err := of(tx, e)
	if !ok || err != nil || s.State == "closed" || s.State == "open" {
		return nil, err
	}
	switch {
	case e.Kind == cloud.KindSessionOpened:
		s.State = "open"
	case s.State == "waiting":
		s.State = "ready"
	}
	return nil, sessions.Put(tx, &s)
}

// Acted is the reaction to session.action: whoever acts is connected, also when the browser could not say
// so.
func (k *Keeper) Acted(tx store.Tx, e *cloud.Entry) ([]cloud.Entry, error) {
	s, ok, err := of(tx, e)
	if !ok || err != nil || s.State == "closed" || s.State == "open" {
		return nil, err
	}
	opened, err := Opened(&s, cloud.Ref{Type: cloud.RefStaff, ID: s.Staff})
	return []cloud.Entry{opened}, err
}

type timeout struct{ Home, Session string }

// Timeout is the work of QueueTimeout: a session that nobody consented to in time, or whose time is up, is
// closed.
func (k *Keeper) Timeout(tx store.Tx, payload []byte, log func(store.Tx, cloud.Entry) error) error {
	var t timeout
	if err := json.Unmarshal(payload, &t); err != nil {
		return fmt.Errorf("read job of queue %s: %w", QueueTimeout, err)
	}
	s, err := sessions.Get(tx, t.Home, t.Session)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || s.State == "closed" {
		return err
	}
	c, ok, err := ConsentOf(tx, &s)
	if err != nil {
		return err
	}
	now := k.opts.Now()
	var because []protocol.EntryID
	if ok {
		because = append(because, askedID(s.ID))
	}
	if ok && c.State == "asked" && !now.Before(c.Until) {
		return log(tx, closing(&s, ReasonUnanswered, self, because...))
	}
	if now.Before(s.Asked.Add(MaxLife)) {
		return nil // it was answered; the other timer ends it
	}
	return log(tx, closing(&s, ReasonExpired, self, because...))
}
