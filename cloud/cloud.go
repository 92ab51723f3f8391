// Package cloud is the vocabulary of the service: tenants, homes, customers, devices, tickets and the
// entries of the timeline. It holds plain types and their checks; what is done with them lives in the
// packages below it, one per idea, which know each other only through small interfaces.
package cloud

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"
)

// Tenant is one vendor. Nothing is shared between tenants.
type Tenant struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Home is a place with devices. It is the unit of ordering and of transactions: everything that must
// change together belongs to one home.
type Home struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Region   string `json:"region"`    // for cohorts: "eu-west", "tw-north"
	ISP      string `json:"isp"`       // may be empty
	TimeZone string `json:"time_zone"` // IANA name; empty means UTC
}

// Customer is a person. A home is not a person: people join homes through Membership.
type Customer struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	Phones   []string  `json:"phones"`   // E.164
	Emails   []string  `json:"emails"`   // lower case
	Accounts []string  `json:"accounts"` // ids in the vendor's app
	Language string    `json:"language"` // BCP 47: "en", "zh-CN", "zh-TW"
	Since    time.Time `json:"since"`
}

// Membership says that a customer lived in or owned a home from Begin until End.
type Membership struct {
	Customer string     `json:"customer"`
	Home     string     `json:"home"`
	Role     string     `json:"role"` // "owner" or "member"
	Begin    time.Time  `json:"begin"`
	End      *time.Time `json:"end,omitempty"` // nil while it lasts
}

// Device is one piece of hardware. It belongs to a home; the home may change when it is sold.
type Device struct {
	ID       string    `json:"id"`
	Home     string    `json:"home"`
	Name     string    `json:"name"` // what the customer calls it
	Model    string    `json:"model"`
	Firmware string    `json:"firmware"`
	Hardware string    `json:"hardware"`
	Added    time.Time `json:"added"`
}

// NewID mints an id of the cloud: 26 characters of [0-9a-v] that sort by time to the millisecond, with
// 80 random bits behind it. It is safe for concurrent use.
func NewID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16)
	rand.Read(b[6:])
	return idEncoding.EncodeToString(b[:])
}

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)
