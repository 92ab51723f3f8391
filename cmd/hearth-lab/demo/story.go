package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/cmd/hearth-lab/home"
	"github.com/hearthline/hearthline/protocol"
)

// story plays faults in a real home and watches what Hearthline makes of them. It never tells Hearthline
// anything that a home, a customer or a support agent would not; what it does not see did not happen.
type story struct {
	world *world
	eye   *witness
	rng   *rand.Rand
	out   io.Writer
	began time.Time
	calm  bool   // the resolver stays well
	only  string // name of the one chapter to play; "" plays all
}

// chapter is one fault and what must come of it.
type chapter struct {
	name string
	play func(context.Context) error
}

// How long a step may take. Each is several times what it takes on two idle cores.
const (
	toNotice = 20 * time.Second
	toFix    = 25 * time.Second
	toTicket = 60 * time.Second
	toReturn = 20 * time.Second
	toSettle = 4 * time.Second // what was lost on the way is given up and asked again
)

// play runs the chapters; the seed orders the faults and the moments between them.
func (s *story) play(ctx context.Context) error {
	s.began = time.Now()
	if _, err := s.eye.await(ctx, "the hub comes online", toReturn, kind(time.Time{}, cloud.KindDeviceOnline)); err != nil {
		return err
	}
	s.saw("the hub is enrolled and online")
	if err := s.customerWrites(ctx); err != nil {
		return err
	}
	chapters := []chapter{{"resolver", s.resolverSlows}, {"uplink", s.uplinkLoses}}
	s.rng.Shuffle(len(chapters), func(i, j int) { chapters[i], chapters[j] = chapters[j], chapters[i] })
	for _, c := range append(chapters, chapter{"batch", s.firmwareGoesBad}) {
		if s.only != "" && s.only != c.name {
			continue
		}
		if err := s.pause(ctx); err != nil {
			return err
		}
		if err := c.play(ctx); err != nil {
			return err
		}
		if err := s.crash(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pause lets the home be calm for one to three seconds.
func (s *story) pause(ctx context.Context) error {
	return s.wait(ctx, time.Second+time.Duration(s.rng.Int64N(int64(2*time.Second))))
}

func (s *story) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// saw reports a step that was seen.
func (s *story) saw(format string, args ...any) {
	fmt.Fprintf(s.out, "   %5.1f s  %s\n", time.Since(s.began).Seconds(), timeline.InZone(fmt.Sprintf(format, args...), time.Local))
}

// customerWrites sends a message from the customer's inbox, and expects it on the timeline.
func (s *story) customerWrites(ctx context.Context) error {
	mark := time.Now()
	text := "Video calls keep freezing in the evening. Could you have a look?"
	if err := s.world.customer.Post(ctx, "/v1/inbox/messages", map[string]string{"text": text}, nil); err != nil {
		return fmt.Errorf("the customer writes: %w", err)
	}
	if _, err := s.eye.await(ctx, "the customer's message", toNotice, kind(mark, cloud.KindContact)); err != nil {
		return err
	}
	s.saw("the customer wrote to us in the app")
	return nil
}

// noticed are the kinds by which a story may begin: the hub saw it, or it was predicted.
var noticed = []cloud.Kind{cloud.Kind(protocol.EventSymptom), cloud.KindRiskRaised}

// resolverSlows degrades the home's resolver and expects it to be noticed, fixed, verified and told.
func (s *story) resolverSlows(ctx context.Context) error {
	fault := home.Fault{Kind: "dns-slow", Value: 900}
	mark := time.Now()
	if !s.calm {
		if err := s.world.hub.fault(fault, true); err != nil {
			return err
		}
		defer s.world.hub.fault(fault, false)
	}
	s.saw("the router's resolver slows down")
	chain, err := s.eye.awaitChain(ctx, toFix, mark, cloud.KindCustomerTold,
		cloud.Kind(protocol.EventFixVerified), cloud.Kind(protocol.EventFixApplied), cloud.KindFixChosen)
	if err != nil {
		return err
	}
	s.sawChain(chain)
	s.saw("from fault to notice: %.1f s", chain[0].Recorded.Sub(mark).Seconds())
	return nil
}

// uplinkLoses makes the line lose packets, which no allowed fix cures: the fix is rolled back, a ticket
// with the diagnosis is opened, the customer phones, and support looks into the home with consent.
func (s *story) uplinkLoses(ctx context.Context) error {
	fault := home.Fault{Kind: "loss", Value: 15}
	mark := time.Now()
	if err := s.world.hub.fault(fault, true); err != nil {
		return err
	}
	defer s.world.hub.fault(fault, false)
	s.saw("the line to the provider loses packets")
	chain, err := s.eye.awaitChain(ctx, toTicket, mark, cloud.KindTicketOpened,
		cloud.Kind(protocol.EventDiagnosis), cloud.KindFixUnavailable, cloud.Kind(protocol.EventFixRolledBack),
		cloud.Kind(protocol.EventFixApplied), cloud.KindFixChosen)
	if err != nil {
		return err
	}
	s.sawChain(chain)
	if err := s.ticketBlames(ctx, chain[0], protocol.SegmentISP); err != nil {
		return err
	}
	if err := s.customerPhones(ctx); err != nil {
		return err
	}
	if err := s.remoteSession(ctx); err != nil {
		return err
	}
	if err := s.world.hub.fault(fault, false); err != nil {
		return err
	}
	s.saw("the provider repairs the line")
	if err := s.wait(ctx, toSettle); err != nil {
		return err
	}
	return s.ticketSolved(ctx, chain[0].Subject(cloud.RefTicket))
}

// ticketSolved lets the support agent close the ticket, and expects the customer to be told.
func (s *story) ticketSolved(ctx context.Context, ticket string) error {
	mark := time.Now()
	if err := s.eye.staff.Post(ctx, "/v1/tickets/"+ticket+"/close", map[string]string{"text": "The provider has repaired the line."}, nil); err != nil {
		return fmt.Errorf("close the ticket: %w", err)
	}
	for _, step := range []cloud.Kind{cloud.KindTicketClosed, cloud.KindCustomerTold} {
		e, err := s.eye.await(ctx, string(step), toFix, kind(mark, step))
		if err != nil {
			return err
		}
		s.saw("%s", e.Summary)
	}
	return nil
}

// sawChain reports a chain of causes, the first cause first, and the sample it begins with.
func (s *story) sawChain(chain []httpapi.EntryView) {
	for _, e := range slices.Backward(chain) {
		for _, v := range e.Evidence {
			s.saw("measured: %s %s", v.Metric, v.Instance)
		}
		s.saw("%s", e.Summary)
	}
}

// ticketBlames checks that the ticket of an entry blames a part of the path by its diagnosis.
func (s *story) ticketBlames(ctx context.Context, opened httpapi.EntryView, want protocol.Segment) error {
	var ticket httpapi.TicketView
	if err := s.eye.staff.Get(ctx, "/v1/tickets/"+opened.Subject(cloud.RefTicket), nil, &ticket); err != nil {
		return err
	}
	if ticket.Segment != want {
		return fmt.Errorf("the ticket blames %q, the fault is in %q", ticket.Segment, want)
	}
	s.saw("the ticket carries the diagnosis and blames: %s", ticket.Segment)
	return nil
}

// customerPhones records a call, and checks that who answers sees everything at once.
func (s *story) customerPhones(ctx context.Context) error {
	due := time.Now().Add(4 * time.Hour).UTC().Truncate(time.Minute)
	call := httpapi.ContactIn{
		Channel: "phone", From: callerPhone, Text: "The video call froze again.",
		Promise: &cloud.Promise{Text: "We call back when the line is repaired.", Due: due},
	}
	if err := s.eye.staff.Post(ctx, "/v1/contacts", call, nil); err != nil {
		return fmt.Errorf("the customer phones: %w", err)
	}
	var caller httpapi.CallerView
	if err := s.eye.staff.Get(ctx, "/v1/callers", map[string][]string{"phone": {callerPhone}}, &caller); err != nil {
		return fmt.Errorf("look up the caller: %w", err)
	}
	switch c := caller.Customer; {
	case c == nil:
		return errors.New("the caller was not recognised by the phone number")
	case len(c.Contacts) < 2 || len(c.Promises) == 0 || len(c.Tickets) == 0 || len(c.Homes) == 0:
		return fmt.Errorf("who answers sees %d contacts, %d promises, %d tickets, %d homes; want both contacts, the promise, the ticket and the home",
			len(c.Contacts), len(c.Promises), len(c.Tickets), len(c.Homes))
	}
	s.saw("the customer phoned; who answers sees both contacts, the promise and the ticket")
	return nil
}

// remoteSession drives the console and the inbox with a real browser. A customer who refuses is not asked
// again: the session must not begin.
func (s *story) remoteSession(ctx context.Context) error {
	mark := time.Now()
	if err := s.world.browse(ctx, s.out); err != nil {
		return fmt.Errorf("remote session in the browser: %w", err)
	}
	steps := []cloud.Kind{
		cloud.KindSessionAsked, cloud.KindCustomerAsked, cloud.KindConsentGiven, cloud.Kind(protocol.EventSessionStarted),
		cloud.Kind(protocol.EventSessionAction), cloud.Kind(protocol.EventSessionEnded),
	}
	if s.world.answer == "refused" {
		steps = []cloud.Kind{cloud.KindSessionAsked, cloud.KindCustomerAsked, cloud.KindConsentRefused, cloud.KindSessionClosed}
	}
	for _, step := range steps {
		e, err := s.eye.await(ctx, string(step), toFix, kind(mark, step))
		if err != nil {
			return err
		}
		s.saw("%s", e.Summary)
	}
	if s.world.answer == "refused" {
		entries, err := s.eye.timeline(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(entries, func(e httpapi.EntryView) bool { return e.Kind == cloud.Kind(protocol.EventSessionStarted) }) {
			return errors.New("the customer refused, and the device joined a session all the same")
		}
	}
	return nil
}

// crash ends the agent or the cloud as a power cut would, and checks that nothing was lost or doubled.
func (s *story) crash(ctx context.Context) error {
	before, err := s.eye.timeline(ctx)
	if err != nil {
		return err
	}
	mark := time.Now()
	if err := s.world.hub.kill(); err != nil {
		return err
	}
	if err := s.world.service.kill(); err != nil {
		return err
	}
	if err := s.world.service.start(ctx); err != nil {
		return err
	}
	if err := s.world.hub.start(); err != nil {
		return err
	}
	if _, err := s.eye.await(ctx, "the agent is back", toReturn, kind(mark, cloud.Kind(protocol.EventBoot))); err != nil {
		return err
	}
	if err := s.eye.lost(ctx, before); err != nil {
		return fmt.Errorf("after kill -9 of agent and cloud: %w", err)
	}
	s.saw("agent and cloud killed and back: %d entries, none lost, none twice", len(before))
	return nil
}
