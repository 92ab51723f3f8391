package app

import (
	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/notify"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// What devices write, as kinds of entries.
const (
	symptomSeen    = cloud.Kind(protocol.EventSymptom)
	symptomCleared = cloud.Kind(protocol.EventSymptomOver)
	diagnosisDone  = cloud.Kind(protocol.EventDiagnosis)
	commandRefused = cloud.Kind(protocol.EventCommand)
	fixVerified    = cloud.Kind(protocol.EventFixVerified)
	fixRolledBack  = cloud.Kind(protocol.EventFixRolledBack)
	fixFailed      = cloud.Kind(protocol.EventFixFailed)
	sessionStarted = cloud.Kind(protocol.EventSessionStarted)
	sessionAction  = cloud.Kind(protocol.EventSessionAction)
	sessionEnded   = cloud.Kind(protocol.EventSessionEnded)
)

// reactions is the one table of what follows from what. Rules of one kind run in this order.
func (a *App) reactions() []timeline.Rule {
	rules := []timeline.Rule{
		// A connection goes bad: choose a fix.
		{On: symptomSeen, Name: "choose a fix for the symptom", Do: a.remedy.Noticed},
		{On: cloud.KindRiskRaised, Name: "choose a fix for the risk", Do: a.remedy.Noticed},
		{On: symptomCleared, Name: "note that the symptom is over", Do: a.remedy.Cleared},
		{On: cloud.KindRiskCleared, Name: "note that the risk is over", Do: a.remedy.Cleared},

		// The fix worked: done. It did not: the next one.
		{On: fixVerified, Name: "end the case and tell the customer, when that was all", Do: a.remedy.Verified},
		{On: fixRolledBack, Name: "try the next fix", Do: a.remedy.Failed},
		{On: fixFailed, Name: "try the next fix", Do: a.remedy.Failed},
		{On: commandRefused, Name: "try the next fix", Do: a.remedy.Failed},
		{On: cloud.KindCommandExpired, Name: "try the next fix", Do: a.remedy.Failed},

		// No fix is left: look where the path breaks, and hand over to a person.
		{On: cloud.KindFixUnavailable, Name: "ask for a diagnosis", Do: a.remedy.Unavailable},
		{On: diagnosisDone, Name: "hand over to a person", Do: a.remedy.Diagnosed},

		// Tickets.
		{On: cloud.KindTicketOpened, Name: "keep the ticket", Do: desk.Opened},
		{On: cloud.KindTicketOpened, Name: "tell the customer of the ticket", Do: notify.Tell},
		{On: cloud.KindTicketClosed, Name: "close the ticket", Do: desk.Closed},
		{On: cloud.KindTicketClosed, Name: "end the case with its ticket", Do: a.remedy.TicketClosed},
		{On: cloud.KindTicketClosed, Name: "tell the customer that it is solved", Do: notify.Tell},
		{On: cloud.KindPromise, Name: "show the customer the promise", Do: notify.Tell},

		// Remote sessions, with the customer's consent.
		{On: cloud.KindSessionAsked, Name: "ask the customer", Do: a.sessions.Asked},
		{On: cloud.KindCustomerAsked, Name: "put the question into the inbox", Do: notify.Ask},
		{On: cloud.KindConsentGiven, Name: "tell the device to join", Do: a.sessions.Given},
		{On: cloud.KindConsentGiven, Name: "settle the question", Do: notify.Answered},
		{On: cloud.KindConsentRefused, Name: "end the session", Do: a.sessions.Ended},
		{On: cloud.KindConsentEnded, Name: "end the session", Do: a.sessions.Ended},
		{On: commandRefused, Name: "end the session", Do: a.sessions.Ended},
		{On: cloud.KindCommandExpired, Name: "end the session", Do: a.sessions.Ended},
		{On: sessionStarted, Name: "the session is ready", Do: a.sessions.Started},
		{On: sessionAction, Name: "who acts is connected", Do: a.sessions.Acted},
		{On: cloud.KindSessionOpened, Name: "the session is open", Do: a.sessions.Started},
		{On: sessionEnded, Name: "end the session", Do: a.sessions.Ended},
		{On: cloud.KindSessionClosed, Name: "tell the customer that it is over", Do: notify.Tell},
		{On: cloud.KindSessionClosed, Name: "close the session", Do: a.sessions.Closed},
		{On: cloud.KindSessionClosed, Name: "settle the question", Do: notify.Answered},

		// A batch goes bad: affected customers hear of it before they call.
		{On: cloud.KindProblemLinked, Name: "tell the customer of the problem", Do: notify.Tell},
		{On: cloud.KindProblemClosed, Name: "tell the customer that it is over", Do: notify.Tell},

		// Many homes are away at once: theirs hear of it, and that there is nothing to do.
		{On: cloud.KindIncidentLinked, Name: "tell the customer of the outage", Do: notify.Tell},
		{On: cloud.KindIncidentClosed, Name: "tell the customer that it is over", Do: notify.Tell},
	}
	rules = append(rules, a.health.Rules()...)  // scores follow from what is held against a device
	return append(rules, a.outbreak.Rules()...) // faults and complaints are counted
}
