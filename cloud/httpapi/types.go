package httpapi

import (
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/protocol"
)

// Page is a part of a list. Next is the cursor of the part that follows; it is absent at the end.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Me is who is signed in.
type Me struct {
	Staff  Staff  `json:"staff"`
	Tenant string `json:"tenant"`
	CSRF   string `json:"csrf" doc:"goes into the X-CSRF-Token header of every request that is not a GET"`
}

// Staff is one person of support.
type Staff struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Role string `json:"role" enum:"admin,support,viewer"`
}

// Match is one customer that a search found, and by what.
type Match struct {
	Customer    cloud.Customer `json:"customer"`
	Homes       []cloud.Home   `json:"homes"`
	Devices     []cloud.Device `json:"devices"`
	OpenTickets int            `json:"open_tickets"`
	Matched     string         `json:"matched" enum:"phone,email,account,name,device"`
	Home        string         `json:"home,omitempty" doc:"the home to show first"`
}

// HealthReason is one reason why a score is below 100.
type HealthReason struct {
	Text     string   `json:"text" doc:"in the asked language"`
	Feature  string   `json:"feature"`
	Instance string   `json:"instance,omitempty"`
	Value    *float64 `json:"value,omitempty"`
	Normal   *float64 `json:"normal,omitempty" doc:"what this device usually shows"`
	Share    float64  `json:"share" doc:"0 to 1"`
}

// Health is how well a device or home is connected, 0 to 100.
type Health struct {
	Score   int              `json:"score" minimum:"0" maximum:"100"`
	Reasons []HealthReason   `json:"reasons"`
	Blame   protocol.Segment `json:"blame,omitempty"`

	BlameText string `json:"blame_text,omitempty" doc:"in the asked language"`
}

// Reading is the last value of one metric.
type Reading struct {
	Metric   string    `json:"metric"`
	Instance string    `json:"instance,omitempty"`
	Value    float64   `json:"value"`
	At       time.Time `json:"at"`
	Text     string    `json:"text" doc:"the value with its unit"`
	Name     string    `json:"name" doc:"the metric in words"`
}

// DeviceView is a device as support sees it.
type DeviceView struct {
	cloud.Device
	Online   bool       `json:"online"`
	Since    *time.Time `json:"since,omitempty" doc:"when it last came or went"`
	Seen     *time.Time `json:"seen,omitempty" doc:"when it was last heard of"`
	Agent    string     `json:"agent,omitempty" doc:"version of the agent"`
	Health   *Health    `json:"health,omitempty" doc:"absent when not enough is known"`
	Readings []Reading  `json:"readings"`
}

// HomeView is a home of a customer with what stands in it.
type HomeView struct {
	Home    cloud.Home   `json:"home"`
	Role    string       `json:"role" enum:"owner,member"`
	Begin   time.Time    `json:"begin"`
	End     *time.Time   `json:"end,omitempty"`
	Health  *Health      `json:"health,omitempty"`
	Outage  *Outage      `json:"outage,omitempty" doc:"that the home is in now"`
	Devices []DeviceView `json:"devices"`
}

// Outage is an incident: one thing that made many homes vanish at once.
type Outage struct {
	ID          string     `json:"id"`
	State       string     `json:"state" enum:"open,closed"`
	Segment     string     `json:"segment" enum:"isp,cloud"`
	SegmentText string     `json:"segment_text"`
	PlaceText   string     `json:"place_text" doc:"where, as one line; empty for everywhere"`
	From        time.Time  `json:"from" doc:"when the first home vanished"`
	To          *time.Time `json:"to,omitempty"`
	Homes       int        `json:"homes" doc:"that were away at its worst"`
}

// TicketView is a ticket with the names that go with it.
type TicketView struct {
	cloud.Ticket
	TitleText    string `json:"title_text" doc:"the title in the asked language"`
	OwnerName    string `json:"owner_name,omitempty"`
	CustomerID   string `json:"customer_id,omitempty"`
	CustomerName string `json:"customer_name,omitempty"`
	HomeName     string `json:"home_name"`
	DeviceName   string `json:"device_name,omitempty"`
}

// PromiseView is a promise made to a customer.
type PromiseView struct {
	Text    string    `json:"text"`
	Due     time.Time `json:"due"`
	At      time.Time `json:"at" doc:"when it was made"`
	Contact string    `json:"contact"`
	Kept    bool      `json:"kept"`
}

// ProblemHead is what a customer's page says about a problem.
type ProblemHead struct {
	ID         string    `json:"id"`
	CohortText string    `json:"cohort_text"`
	Since      time.Time `json:"since"`
	State      string    `json:"state" enum:"open,closed"`
}

// CustomerView is everything about a customer on one page, the timeline's first part included.
type CustomerView struct {
	Customer cloud.Customer  `json:"customer"`
	Homes    []HomeView      `json:"homes"`
	Tickets  []TicketView    `json:"tickets" doc:"open ones first"`
	Contacts []cloud.Contact `json:"contacts" doc:"newest first, from every channel"`
	Promises []PromiseView   `json:"promises" doc:"those still to be kept first"`
	Problems []ProblemHead   `json:"problems"`
	Sessions []cloud.Session `json:"sessions" doc:"remote sessions, newest first"`
	Timeline []EntryView     `json:"timeline" doc:"newest 50 entries of the homes that are the customer's now"`
}

// CallerView is the answer to a ringing phone.
type CallerView struct {
	Phone     string           `json:"phone" doc:"in E.164"`
	Known     bool             `json:"known"`
	Customer  *CustomerView    `json:"customer,omitempty" doc:"the likeliest caller"`
	Others    []cloud.Customer `json:"others" doc:"others who share this number"`
	Strangers []cloud.Contact  `json:"strangers" doc:"contacts from this number when it belongs to nobody we know"`
}

// EntryView is a timeline entry with its summary.
type EntryView struct {
	cloud.Entry
	Summary   string `json:"summary" doc:"one line in the asked language"`
	ActorName string `json:"actor_name"`
}

// Series is one metric over time, for a chart. Times are milliseconds since 1970.
type Series struct {
	Metric   string     `json:"metric"`
	Instance string     `json:"instance"`
	Unit     string     `json:"unit"`
	At       []int64    `json:"at"`
	Value    []*float64 `json:"value" doc:"mean of each step; null where nothing was measured"`
	Min      []*float64 `json:"min"`
	Max      []*float64 `json:"max"`
}

// Telemetry is the answer for a set of charts.
type Telemetry struct {
	Series []Series `json:"series"`
}

// Cohort names what a batch of devices has in common; an empty field means any.
type Cohort struct {
	Model    string `json:"model,omitempty"`
	Firmware string `json:"firmware,omitempty"`
	Hardware string `json:"hardware,omitempty"`
	Region   string `json:"region,omitempty"`
	ISP      string `json:"isp,omitempty"`
}

// Problem is a batch of devices that is going bad.
type Problem struct {
	ID            string     `json:"id"`
	State         string     `json:"state" enum:"open,closed"`
	Opened        time.Time  `json:"opened"`
	Closed        *time.Time `json:"closed,omitempty"`
	Cohort        Cohort     `json:"cohort"`
	CohortText    string     `json:"cohort_text" doc:"what the devices have in common, as one line"`
	HomesAffected int        `json:"homes_affected"`
	TicketsLinked int        `json:"tickets_linked"`
}

// ProblemDay is one day of the evidence.
type ProblemDay struct {
	Day      time.Time `json:"day" doc:"when the step begins; a step is a day unless the service is set otherwise"`
	Observed int       `json:"observed" doc:"devices of the cohort with a fault or complaint"`
	Expected float64   `json:"expected" doc:"as many as usual"`
}

// ProblemEvidence is why we say so.
type ProblemEvidence struct {
	Observed   int          `json:"observed"`
	Expected   float64      `json:"expected"`
	Devices    int          `json:"devices" doc:"in the cohort"`
	WindowFrom time.Time    `json:"window_from"`
	WindowTo   time.Time    `json:"window_to"`
	Score      float64      `json:"score" doc:"how far above the fleet's own quiet past; the alarm stands at 1"`
	Daily      []ProblemDay `json:"daily"`
}

// AffectedHome is a home that a problem touches.
type AffectedHome struct {
	Home         string     `json:"home"`
	CustomerID   string     `json:"customer_id,omitempty"`
	CustomerName string     `json:"customer_name,omitempty"`
	Device       string     `json:"device"`
	DeviceName   string     `json:"device_name"`
	Told         *time.Time `json:"told,omitempty" doc:"when the customer was told"`
	Ticket       string     `json:"ticket,omitempty"`
}

// ProblemView is the page of one problem.
type ProblemView struct {
	Problem
	Evidence ProblemEvidence `json:"evidence"`
	Homes    []AffectedHome  `json:"homes"`
	Tickets  []TicketView    `json:"tickets"`
}

// SessionView is a remote session with what a browser needs to join it.
type SessionView struct {
	cloud.Session
	ICEServers []protocol.ICEServer `json:"ice_servers"`
	Consent    *cloud.Consent       `json:"consent,omitempty"`
}

// Signal is one step of WebRTC set-up.
type Signal struct {
	Kind string `json:"kind" enum:"offer,answer,candidate,end"`
	Body string `json:"body" maxLength:"32768" doc:"SDP, an ICE candidate as JSON, or for end the reason"`
}

// NoticeView is one item of a customer's inbox, in the customer's language.
type NoticeView struct {
	ID       string         `json:"id"`
	At       time.Time      `json:"at"`
	Title    string         `json:"title"`
	Text     string         `json:"text"`
	Tone     string         `json:"tone" enum:"good,info,ask,bad"`
	Consent  *cloud.Consent `json:"consent,omitempty"`
	Resolved bool           `json:"resolved"`
}

// InboxDevice is a device as its owner sees it.
type InboxDevice struct {
	ID     string  `json:"id"`
	Name   string  `json:"name"`
	Online bool    `json:"online"`
	Health *Health `json:"health,omitempty"`
}

// InboxHome is a home as its people see it.
type InboxHome struct {
	Home    cloud.Home    `json:"home"`
	Devices []InboxDevice `json:"devices"`
}

// InboxMessage is one thing said between a customer and us.
type InboxMessage struct {
	At      time.Time      `json:"at"`
	From    string         `json:"from" enum:"you,us"`
	Text    string         `json:"text"`
	Channel string         `json:"channel"`
	Promise *cloud.Promise `json:"promise,omitempty"`
}

// Inbox is the customer's page.
type Inbox struct {
	Customer struct {
		Name     string `json:"name"`
		Language string `json:"language"`
	} `json:"customer"`
	CSRF     string          `json:"csrf" doc:"goes into the X-CSRF-Token header of every request that is not a GET"`
	Homes    []InboxHome     `json:"homes"`
	Notices  []NoticeView    `json:"notices" doc:"newest first"`
	Messages []InboxMessage  `json:"messages" doc:"oldest first"`
	Sessions []cloud.Session `json:"sessions" doc:"remote sessions that are not closed"`
}

// Changed says that something of a home is new, or of any with an empty Home; whoever shows it reads again.
type Changed struct {
	Home string `json:"home"`
}

// Alive says that a stream stands though nothing came for a while.
type Alive struct{}

// DeadJob is work that was given up after many attempts and waits for a person.
type DeadJob struct {
	Queue    string    `json:"queue"`
	ID       string    `json:"id"`
	Attempts int       `json:"attempts"`
	Error    string    `json:"error"`
	Buried   time.Time `json:"buried"`
}
