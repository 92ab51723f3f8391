package httpapi

import (
	"time"

	"github.com/hearthline/hearthline/cloud"
)

// What callers send. Limits are part of the OpenAPI document and checked before a handler runs.

// InPage asks for a part of a list.
type InPage struct {
	Before string `query:"before" maxLength:"2048" doc:"cursor from next of the page before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
}

// InCustomer names a customer.
type InCustomer struct {
	InLang
	Customer string `path:"customer" minLength:"1" maxLength:"64"`
}

// InHome names a home.
type InHome struct {
	InLang
	Home string `path:"home" minLength:"1" maxLength:"64"`
}

// InDevice names a device.
type InDevice struct {
	InLang
	Device string `path:"device" minLength:"1" maxLength:"64"`
}

// InTicket names a ticket.
type InTicket struct {
	InLang
	Ticket string `path:"ticket" minLength:"1" maxLength:"64"`
}

// InSession names a remote session.
type InSession struct {
	Session string `path:"session" minLength:"1" maxLength:"64"`
}

type inSignIn struct {
	Body struct {
		Tenant   string `json:"tenant,omitempty" maxLength:"64" doc:"absent for the only or first tenant"`
		Name     string `json:"name" minLength:"1" maxLength:"64"`
		Password string `json:"password" minLength:"1" maxLength:"256"`
	}
}

type inPassword struct {
	Body struct {
		Old string `json:"old" minLength:"1" maxLength:"256"`
		New string `json:"new" minLength:"12" maxLength:"256"`
	}
}

type inOpenInbox struct {
	Body struct {
		Token string `json:"token" minLength:"1" maxLength:"512"`
	}
}

type inFind struct {
	InLang
	Q string `query:"q" required:"true" minLength:"1" maxLength:"128" doc:"part of a name, a phone number in any notation, an e-mail, an account, a device id or name"`
}

type inCaller struct {
	InLang
	Phone string `query:"phone" required:"true" minLength:"3" maxLength:"32" doc:"in any notation; without a country code, the tenant's is taken"`
}

type inOutages struct{ InLang }

type inHomes struct {
	InLang
	InPage
}

type inEntries struct {
	InHome
	InPage
}

type inWhy struct {
	InHome
	Entry string `path:"entry" minLength:"1" maxLength:"128"`
}

type inTelemetry struct {
	InDevice
	Metric []string  `query:"metric,explode" minItems:"1" maxItems:"16" required:"true" doc:"names; metric{instance} for one instance only"`
	From   time.Time `query:"from" doc:"default is an hour before to"`
	To     time.Time `query:"to" doc:"default is now"`
	Points int       `query:"points" minimum:"2" maximum:"2000" default:"240"`
}

type inTickets struct {
	InLang
	State []string `query:"state,explode" enum:"open,waiting,solved" maxItems:"3" doc:"absent: those not solved"`
	InPage
}

type inProblem struct {
	InLang
	Problem string `path:"problem" minLength:"1" maxLength:"64"`
}

type inProblems struct {
	InLang
	State string `query:"state" enum:"open,closed,all" default:"all"`
}

// ContactIn is what a channel delivers.
type ContactIn struct {
	Channel string         `json:"channel" enum:"app,chat,phone,email,inbox"`
	From    string         `json:"from" minLength:"1" maxLength:"254" doc:"the identifier as the channel gives it: phone number, e-mail, account"`
	Text    string         `json:"text" minLength:"1" maxLength:"4000"`
	Home    string         `json:"home,omitempty" maxLength:"64" doc:"when the customer has several"`
	At      *time.Time     `json:"at,omitempty" doc:"default is now"`
	ID      string         `json:"id,omitempty" maxLength:"64" pattern:"^[A-Za-z0-9_-]*$" doc:"the channel's own id of the message; sent again, it is recorded once"`
	Promise *cloud.Promise `json:"promise,omitempty"`
}

type inContact struct {
	Body ContactIn
}

type inKeep struct {
	Contact string `path:"contact" minLength:"1" maxLength:"64"`
}

type inOpenTicket struct {
	InLang
	Body struct {
		Home   string `json:"home" minLength:"1" maxLength:"64"`
		Device string `json:"device,omitempty" maxLength:"64"`
		Title  string `json:"title" minLength:"1" maxLength:"200"`
	}
}

type inTicketText struct {
	InTicket
	Body struct {
		Text string `json:"text" minLength:"1" maxLength:"4000"`
	}
}

type inDiagnose struct {
	InDevice
	Body struct {
		Kind   string `json:"kind" enum:"ping,traceroute,dns,dhcp,http,interface,wifi,speed,connection"`
		Target string `json:"target,omitempty" maxLength:"253"`
	}
}

type inAskSession struct {
	InDevice
	Body struct {
		Ticket string   `json:"ticket,omitempty" maxLength:"64"`
		Allow  []string `json:"allow" minItems:"1" maxItems:"2" enum:"diagnose,metrics"`
	}
}

type inSignal struct {
	InSession
	Body Signal
}

// HomeIn is a new home.
type HomeIn struct {
	ID       string `json:"id,omitempty" maxLength:"64" pattern:"^[A-Za-z0-9_-]*$" doc:"default is a new id"`
	Name     string `json:"name" minLength:"1" maxLength:"120"`
	Region   string `json:"region,omitempty" maxLength:"64"`
	ISP      string `json:"isp,omitempty" maxLength:"64"`
	TimeZone string `json:"time_zone,omitempty" maxLength:"64"`
}

type inAddHome struct{ Body HomeIn }

// CustomerIn is a new customer.
type CustomerIn struct {
	ID       string   `json:"id,omitempty" maxLength:"64" pattern:"^[A-Za-z0-9_-]*$" doc:"default is a new id"`
	Name     string   `json:"name" minLength:"1" maxLength:"120"`
	Phones   []string `json:"phones,omitempty" maxItems:"16"`
	Emails   []string `json:"emails,omitempty" maxItems:"16"`
	Accounts []string `json:"accounts,omitempty" maxItems:"16"`
	Language string   `json:"language,omitempty" maxLength:"35"`
}

type inAddCustomer struct{ Body CustomerIn }

type inAddMember struct {
	Home string `path:"home" minLength:"1" maxLength:"64"`
	Body struct {
		Customer string     `json:"customer" minLength:"1" maxLength:"64"`
		Role     string     `json:"role,omitempty" enum:"owner,member" default:"owner"`
		Begin    *time.Time `json:"begin,omitempty" doc:"default is now"`
	}
}

type inEndMember struct {
	Home     string `path:"home" minLength:"1" maxLength:"64"`
	Customer string `path:"customer" minLength:"1" maxLength:"64"`
	Body     struct {
		End *time.Time `json:"end,omitempty" doc:"default is now"`
	}
}

// DeviceIn is a new device.
type DeviceIn struct {
	ID       string `json:"id,omitempty" maxLength:"64" pattern:"^[A-Za-z0-9_-]*$" doc:"default is a new id"`
	Home     string `json:"home" minLength:"1" maxLength:"64"`
	Name     string `json:"name" minLength:"1" maxLength:"120"`
	Model    string `json:"model,omitempty" maxLength:"120"`
	Firmware string `json:"firmware,omitempty" maxLength:"120"`
	Hardware string `json:"hardware,omitempty" maxLength:"120"`
}

type inAddDevice struct{ Body DeviceIn }

type inStaff struct {
	Body struct {
		Name     string `json:"name" minLength:"1" maxLength:"64"`
		Role     string `json:"role" enum:"admin,support,viewer"`
		Password string `json:"password" minLength:"12" maxLength:"256"`
	}
}

type inDeadJob struct {
	Queue string `path:"queue" maxLength:"64"`
	Job   string `path:"job" maxLength:"1024"`
}

type inConsent struct {
	Request string `path:"request" minLength:"1" maxLength:"64"`
	Body    struct {
		Answer string `json:"answer" enum:"given,refused,withdrawn"`
	}
}

type inMessage struct {
	Body struct {
		Text string `json:"text" minLength:"1" maxLength:"4000"`
		Home string `json:"home,omitempty" maxLength:"64" doc:"when the customer has several"`
	}
}

// Small answers.

type signedIn struct {
	SetCookie []string `header:"Set-Cookie"`
	Body      Me
}

type openedInbox struct {
	SetCookie []string `header:"Set-Cookie"`
	Body      struct {
		CSRF string `json:"csrf"`
	}
}

type signedOut struct {
	SetCookie []string `header:"Set-Cookie"`
}

type serviceHealth struct {
	Status  string `json:"status" enum:"ok,degraded"`
	Version string `json:"version"`
}

type diagnosisAsked struct {
	Entry   string `json:"entry" doc:"the entry on the timeline"`
	Command string `json:"command"`
}

type enrolmentToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

type inboxLink struct {
	Token   string    `json:"token"`
	Path    string    `json:"path" doc:"append it to the address of the service"`
	Expires time.Time `json:"expires"`
}
