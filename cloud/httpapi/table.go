package httpapi

import (
	"net/http"

	"github.com/hearthline/hearthline/cloud/access"
)

// route is one operation of the API and who may call it.
type route struct {
	id     string
	who    access.Group
	method string
	path   string
	says   string
}

// routes is the one table of who may call what. New fails when an operation is not in it, or when a route
// has no operation.
var routes = []route{
	{"health", access.Anyone, http.MethodGet, "/healthz", "Whether the service can do its work"},
	{"sign-in", access.Anyone, http.MethodPost, "/v1/sign-in", "Sign in with a name and a password; sets a cookie"},
	{"open-inbox", access.Anyone, http.MethodPost, "/v1/inbox/open", "Open a customer's inbox by its signed token; sets a cookie"},

	{"sign-out", access.Readers, http.MethodPost, "/v1/sign-out", "End the session of the cookie"},
	{"me", access.Readers, http.MethodGet, "/v1/me", "Who is signed in"},
	{"change-password", access.Readers, http.MethodPost, "/v1/me/password", "Change one's own password; other sessions end"},

	{"find", access.Readers, http.MethodGet, "/v1/find", "Customers by phone, e-mail, account, name or device"},
	{"caller", access.Readers, http.MethodGet, "/v1/callers", "Everything about who is on the phone, in one call"},
	{"customer", access.Readers, http.MethodGet, "/v1/customers/{customer}", "Everything about a customer"},
	{"homes", access.Readers, http.MethodGet, "/v1/homes", "All homes, with their devices"},
	{"home", access.Readers, http.MethodGet, "/v1/homes/{home}", "One home with its devices"},
	{"entries", access.Readers, http.MethodGet, "/v1/homes/{home}/entries", "The timeline of a home, newest first"},
	{"why", access.Readers, http.MethodGet, "/v1/homes/{home}/entries/{entry}/why", "An entry and all its causes back to the roots"},
	{"device", access.Readers, http.MethodGet, "/v1/devices/{device}", "One device with its health and last readings"},
	{"telemetry", access.Readers, http.MethodGet, "/v1/devices/{device}/telemetry", "Metrics of a device over time, for charts"},
	{"tickets", access.Readers, http.MethodGet, "/v1/tickets", "Tickets of all homes"},
	{"ticket", access.Readers, http.MethodGet, "/v1/tickets/{ticket}", "One ticket"},
	{"problems", access.Readers, http.MethodGet, "/v1/problems", "Batches of devices that are going bad"},
	{"problem", access.Readers, http.MethodGet, "/v1/problems/{problem}", "One problem with its evidence and affected homes"},
	{"outages", access.Readers, http.MethodGet, "/v1/outages", "What made many homes vanish at once, open ones first"},
	{"models", access.Readers, http.MethodGet, "/v1/models", "Versions of the risk model, where they run, and who changed what"},
	{"session", access.Readers, http.MethodGet, "/v1/sessions/{session}", "One remote session"},
	{"events", access.Readers, http.MethodGet, "/v1/events", "Changes of all homes as they are committed"},
	{"home-events", access.Readers, http.MethodGet, "/v1/homes/{home}/events", "Changes of one home as they are committed"},

	{"add-contact", access.Supporters, http.MethodPost, "/v1/contacts", "Record what a customer said, on any channel"},
	{"keep-promise", access.Supporters, http.MethodPost, "/v1/contacts/{contact}/kept", "Record that what was promised with a contact was done"},
	{"open-ticket", access.Supporters, http.MethodPost, "/v1/tickets", "Open a ticket"},
	{"note-ticket", access.Supporters, http.MethodPost, "/v1/tickets/{ticket}/notes", "Add a note to a ticket"},
	{"take-ticket", access.Supporters, http.MethodPost, "/v1/tickets/{ticket}/take", "Become the owner of a ticket"},
	{"close-ticket", access.Supporters, http.MethodPost, "/v1/tickets/{ticket}/close", "Close a ticket"},
	{"diagnose", access.Supporters, http.MethodPost, "/v1/devices/{device}/diagnoses", "Ask a device to look into something; the result comes on the timeline"},
	{"ask-session", access.Supporters, http.MethodPost, "/v1/devices/{device}/sessions", "Ask for a remote session; the customer is asked where the policy says so"},
	{"session-opened", access.Supporters, http.MethodPost, "/v1/sessions/{session}/opened", "Record that browser and device are connected"},
	{"close-session", access.Supporters, http.MethodPost, "/v1/sessions/{session}/close", "End a remote session at once"},
	{"signal", access.Supporters, http.MethodPost, "/v1/sessions/{session}/signal", "Send one step of WebRTC set-up to the device"},
	{"signals", access.Supporters, http.MethodGet, "/v1/sessions/{session}/signals", "Steps of WebRTC set-up from the device, as they come"},

	{"add-home", access.Admins, http.MethodPost, "/v1/homes", "Add a home"},
	{"add-customer", access.Admins, http.MethodPost, "/v1/customers", "Add a customer"},
	{"add-member", access.Admins, http.MethodPost, "/v1/homes/{home}/members", "Let a customer's time in a home begin"},
	{"end-member", access.Admins, http.MethodPost, "/v1/homes/{home}/members/{customer}/end", "Let a customer's time in a home end"},
	{"add-device", access.Admins, http.MethodPost, "/v1/devices", "Add a device to a home"},
	{"enrolment-token", access.Admins, http.MethodPost, "/v1/devices/{device}/enrolment-token", "Make a one-time token by which the device gets its certificate"},
	{"inbox-link", access.Admins, http.MethodPost, "/v1/customers/{customer}/inbox-link", "Make the signed link of a customer's inbox"},
	{"add-staff", access.Admins, http.MethodPost, "/v1/staff", "Add a person of support"},
	{"add-model", access.Admins, http.MethodPost, "/v1/models", "Enter a trained risk model as a candidate, to be judged beside the one in use"},
	{"start-model", access.Admins, http.MethodPost, "/v1/models/{version}/start", "Roll a version out again that was rolled back or retired"},
	{"stop-model", access.Admins, http.MethodPost, "/v1/models/{version}/stop", "Take a version out of service"},
	{"backup", access.Admins, http.MethodGet, "/v1/backup", "A backup of the store, with its checksum, taken while the service runs"},
	{"dead-jobs", access.Admins, http.MethodGet, "/v1/jobs/dead", "Work that was given up and waits for a person"},
	{"revive-job", access.Admins, http.MethodPost, "/v1/jobs/dead/{queue}/{job}/revive", "Try it again"},

	{"inbox", access.Customers, http.MethodGet, "/v1/inbox", "The customer's page"},
	{"answer-consent", access.Customers, http.MethodPost, "/v1/inbox/consents/{request}", "Give, refuse or withdraw consent"},
	{"write-to-us", access.Customers, http.MethodPost, "/v1/inbox/messages", "Write to support"},
	{"inbox-events", access.Customers, http.MethodGet, "/v1/inbox/events", "Changes of the customer's homes as they are committed"},
}
