package cloud

import (
	"time"

	"github.com/hearthline/hearthline/protocol"
)

// TicketState says whose turn it is.
type TicketState string

// A ticket is worked on until it is solved; it waits when the customer has to answer.
const (
	TicketOpen    TicketState = "open"
	TicketWaiting TicketState = "waiting"
	TicketSolved  TicketState = "solved"
)

// Ticket is an open matter of one home. Its story is the timeline; the ticket holds only its head.
type Ticket struct {
	ID      string             `json:"id"`
	Home    string             `json:"home"`
	Device  string             `json:"device,omitempty"`
	Title   string             `json:"title"` // message key, or free text when a person wrote it
	State   TicketState        `json:"state"`
	Segment protocol.Segment   `json:"segment"`         // blamed part of the path
	Owner   string             `json:"owner,omitempty"` // staff id
	Problem string             `json:"problem,omitempty"`
	Opened  time.Time          `json:"opened"`
	Closed  *time.Time         `json:"closed,omitempty"`
	Because []protocol.EntryID `json:"because"`
}

// Contact is one thing that a customer said, on whichever channel.
type Contact struct {
	ID       string    `json:"id"`
	Home     string    `json:"home,omitempty"`
	Customer string    `json:"customer,omitempty"`
	Channel  string    `json:"channel"` // "app", "chat", "phone", "email", "inbox"
	From     string    `json:"from"`    // the identifier as the channel gave it
	Text     string    `json:"text"`
	At       time.Time `json:"at"`
	Promise  *Promise  `json:"promise,omitempty"`
}

// Promise is what we told the customer we would do, and by when.
type Promise struct {
	Text string    `json:"text"`
	Due  time.Time `json:"due"`
}

// Notice is one item of a customer's inbox.
type Notice struct {
	ID       string            `json:"id"`
	Home     string            `json:"home"`
	Key      string            `json:"key"` // message key
	Args     map[string]string `json:"args,omitempty"`
	At       time.Time         `json:"at"`
	Entry    protocol.EntryID  `json:"entry"`             // what it tells about
	Consent  *Consent          `json:"consent,omitempty"` // set when it asks something of the customer
	Resolved bool              `json:"resolved"`
}

// Consent is the customer's answer to one request.
type Consent struct {
	Request string     `json:"request"`
	What    []string   `json:"what"` // "diagnose", "metrics"
	Session string     `json:"session,omitempty"`
	State   string     `json:"state"` // "asked", "given", "refused", "withdrawn" or "expired"
	Until   time.Time  `json:"until"`
	At      *time.Time `json:"at,omitempty"` // of the answer
}

// Session is one remote session into a home.
type Session struct {
	ID     string     `json:"id"`
	Home   string     `json:"home"`
	Device string     `json:"device"`
	Ticket string     `json:"ticket,omitempty"`
	Staff  string     `json:"staff"`
	Allow  []string   `json:"allow"` // "diagnose", "metrics"
	State  string     `json:"state"` // "waiting", "ready", "open" or "closed"
	Asked  time.Time  `json:"asked"`
	Closed *time.Time `json:"closed,omitempty"`
	Reason string     `json:"reason,omitempty"` // why it closed
}
