package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/sse"

	"github.com/hearthline/hearthline/cloud"
)

const (
	staffCookie = "hearth_session"
	inboxCookie = "hearth_inbox"
)

// Services is what the operations work with.
type Services struct{}

func unserved[I, O any](context.Context, *I) (*O, error) {
	return nil, cloud.Errorf(cloud.CodeUnavailable, "this service is not part of this program yet")
}

func (a *API) authorize(ctx huma.Context, next func(huma.Context)) {
	if a.byID[ctx.Operation().OperationID].id != "health" {
		huma.WriteErr(a.huma, ctx, http.StatusUnauthorized, "sign in first")
		return
	}
	next(ctx)
}

func (a *API) register() {
	handle(a, "health", func(context.Context, *struct{}) (*body[serviceHealth], error) {
		return &body[serviceHealth]{serviceHealth{Status: "ok", Version: a.opts.Version}}, nil
	})
	handle(a, "sign-in", unserved[inSignIn, signedIn])
	handle(a, "sign-out", unserved[struct{}, signedOut])
	handle(a, "me", unserved[struct{}, body[Me]])
	handle(a, "change-password", unserved[inPassword, none])
	handle(a, "open-inbox", unserved[inOpenInbox, openedInbox])
	handle(a, "find", unserved[inFind, body[Page[Match]]])
	handle(a, "caller", unserved[inCaller, body[CallerView]])
	handle(a, "customer", unserved[InCustomer, body[CustomerView]])
	handle(a, "homes", unserved[inHomes, body[Page[HomeView]]])
	handle(a, "home", unserved[InHome, body[HomeView]])
	handle(a, "entries", unserved[inEntries, body[Page[EntryView]]])
	handle(a, "why", unserved[inWhy, body[Page[EntryView]]])
	handle(a, "device", unserved[InDevice, body[DeviceView]])
	handle(a, "telemetry", unserved[inTelemetry, body[Telemetry]])
	handle(a, "tickets", unserved[inTickets, body[Page[TicketView]]])
	handle(a, "ticket", unserved[InTicket, body[TicketView]])
	handle(a, "problems", unserved[inProblems, body[Page[Problem]]])
	handle(a, "problem", unserved[inProblem, body[ProblemView]])
	handle(a, "session", unserved[InSession, body[SessionView]])
	handle(a, "add-contact", unserved[inContact, body[cloud.Contact]])
	handle(a, "open-ticket", unserved[inOpenTicket, body[TicketView]])
	handle(a, "note-ticket", unserved[inTicketText, none])
	handle(a, "take-ticket", unserved[InTicket, body[TicketView]])
	handle(a, "close-ticket", unserved[inTicketText, none])
	handle(a, "diagnose", unserved[inDiagnose, body[diagnosisAsked]])
	handle(a, "ask-session", unserved[inAskSession, body[cloud.Session]])
	handle(a, "close-session", unserved[InSession, none])
	handle(a, "signal", unserved[inSignal, none])
	handle(a, "add-home", unserved[inAddHome, body[cloud.Home]])
	handle(a, "add-customer", unserved[inAddCustomer, body[cloud.Customer]])
	handle(a, "add-member", unserved[inAddMember, body[cloud.Membership]])
	handle(a, "end-member", unserved[inEndMember, none])
	handle(a, "add-device", unserved[inAddDevice, body[cloud.Device]])
	handle(a, "enrolment-token", unserved[InDevice, body[enrolmentToken]])
	handle(a, "inbox-link", unserved[InCustomer, body[inboxLink]])
	handle(a, "add-staff", unserved[inStaff, body[Staff]])
	handle(a, "dead-jobs", unserved[struct{}, body[Page[DeadJob]]])
	handle(a, "revive-job", unserved[inDeadJob, none])
	handle(a, "inbox", unserved[InLang, body[Inbox]])
	handle(a, "answer-consent", unserved[inConsent, none])
	handle(a, "write-to-us", unserved[inMessage, none])
	stream(a, "events", map[string]any{"changed": Changed{}, "alive": Alive{}}, func(context.Context, *struct{}, sse.Sender) {})
	stream(a, "home-events", map[string]any{"changed": Changed{}, "alive": Alive{}}, func(context.Context, *InHome, sse.Sender) {})
	stream(a, "inbox-events", map[string]any{"changed": Changed{}, "alive": Alive{}}, func(context.Context, *struct{}, sse.Sender) {})
	stream(a, "signals", map[string]any{"signal": Signal{}, "alive": Alive{}}, func(context.Context, *InSession, sse.Sender) {})
}

// stream registers an operation that answers with server-sent events.
func stream[I any](a *API, id string, events map[string]any, do func(context.Context, *I, sse.Sender)) {
	sse.Register(a.huma, a.operation(id), events, do)
}
