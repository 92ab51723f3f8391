package cloud

import (
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// Kind names what an entry says, in the form subject.verb. Entries that a device wrote have the kinds
// of protocol.EventKind.
type Kind string

// What the cloud itself, its people and its customers write.
const (
	KindRiskRaised     Kind = Kind(protocol.EventRisk) // by the hub or by the cloud's predictor; Risk is set
	KindRiskCleared    Kind = Kind(protocol.EventRiskOver)
	KindDeviceEnrolled Kind = "device.enrolled"
	KindDeviceOnline   Kind = "device.online"
	KindDeviceOffline  Kind = "device.offline"
	KindTelemetryGap   Kind = "telemetry.gap"    // Args: reason, records, from, to
	KindRecordSetAside Kind = "record.set_aside" // a record that could not be understood; Args: reason
	KindFixChosen      Kind = "fix.chosen"       // Args: plan, action, command
	KindFixUnavailable Kind = "fix.unavailable"  // no plan fits, or all were tried; Args: reason
	KindCommandSent    Kind = "command.sent"     // Args: command, plan
	KindCommandExpired Kind = "command.expired"  // the device did not answer in time
	KindDiagnosisAsked Kind = "diagnosis.asked"
	KindCustomerTold   Kind = "customer.told"  // a notice is in the inbox; Args: notice
	KindCustomerAsked  Kind = "customer.asked" // consent is asked for; Args: request, what
	KindConsentGiven   Kind = "consent.given"  // Args: request, what
	KindConsentRefused Kind = "consent.refused"
	KindConsentEnded   Kind = "consent.withdrawn"
	KindContact        Kind = "contact.received" // Args: channel, contact
	KindPromise        Kind = "promise.made"     // Args: text, due
	KindTicketOpened   Kind = "ticket.opened"    // Args: ticket, title, segment
	KindTicketNote     Kind = "ticket.noted"
	KindTicketClosed   Kind = "ticket.closed"
	KindSessionAsked   Kind = "session.asked"  // a support agent wants a remote session; Args: session
	KindSessionOpened  Kind = "session.opened" // browser and device are connected
	KindSessionClosed  Kind = "session.closed" // Args: session, reason
	KindProblemLinked  Kind = "problem.linked" // this home is affected by a batch of devices that is going bad; Args: problem, cohort
	KindProblemClosed  Kind = "problem.closed"
	KindIncidentLinked Kind = "incident.linked" // this home is away in an outage of many; Args: incident, segment, cohort, since
	KindIncidentClosed Kind = "incident.closed"
)

// Entry is one thing on a home's timeline that a person may want explained. It never changes.
type Entry struct {
	ID        protocol.EntryID    `json:"id"`
	Home      string              `json:"home"`
	At        time.Time           `json:"at"`       // when it happened, by corrected device time
	Recorded  time.Time           `json:"recorded"` // when it was committed
	Kind      Kind                `json:"kind"`
	Subjects  []Ref               `json:"subjects"`       // what it is about
	Actor     Ref                 `json:"actor"`          // who or what did it
	Args      map[string]string   `json:"args,omitempty"` // fill the summary; numbers in decimal, times in RFC 3339
	Because   []protocol.EntryID  `json:"because"`        // its causes, on the same timeline
	Evidence  []protocol.Evidence `json:"evidence,omitempty"`
	Diagnosis *protocol.Diagnosis `json:"diagnosis,omitempty"`
	Risk      *protocol.Risk      `json:"risk,omitempty"`
}

// Ref points at a thing by type and id.
type Ref struct {
	Type string `json:"type"` // one of the Ref constants
	ID   string `json:"id"`
}

// What a Ref can point at. RefService is a part of the cloud acting by itself: its id is the package.
const (
	RefDevice   = "device"
	RefCustomer = "customer"
	RefStaff    = "staff"
	RefService  = "service"
	RefTicket   = "ticket"
	RefSession  = "session"
	RefCommand  = "command"
	RefNotice   = "notice"
	RefContact  = "contact"
	RefProblem  = "problem"
	RefIncident = "incident"
)

// Device returns the device that the entry is about, else the one that wrote it, or "".
func (e *Entry) Device() string {
	if id := e.Subject(RefDevice); id != "" || e.Actor.Type != RefDevice {
		return id
	}
	return e.Actor.ID
}

// Subject returns the id of the first subject of a type, or "".
func (e *Entry) Subject(typ string) string {
	for _, r := range e.Subjects {
		if r.Type == typ {
			return r.ID
		}
	}
	return ""
}
