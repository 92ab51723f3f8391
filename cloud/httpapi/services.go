package httpapi

import (
	"context"
	"io"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/remedy"
	"github.com/hearthline/hearthline/cloud/session"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// Services is what the operations work with. What is below the line may be nil: then the operations that
// need it answer 503, and views leave it out.
type Services struct {
	DB       store.DB
	Log      *timeline.Log
	Inbox    *access.Inbox
	Remedy   *remedy.Remedy
	Sessions *session.Keeper
	Tenant   string // the one that people sign in to when they name none
	Region   string // where a phone number without a country code is from, ISO 3166 ("TW")

	Live      Live
	Telemetry TelemetrySource
	Health    HealthSource
	Problems  ProblemSource
	Signals   Signals
	Enrolment Enrolment
	Models    *predict.Rollout
	Backup    func(io.Writer) (int64, error) // writes a consistent copy of the store; nil where the database has its own
}

// Live tells of changes as they are committed.
type Live interface {
	// Subscribe returns a channel that receives after changes of a home, or of any home when home is "".
	Subscribe(tenant, home string) (woken <-chan struct{}, stop func())
}

// TelemetrySource knows what devices measured.
type TelemetrySource interface {
	// Latest returns the last sample of a device with when it was taken, or nil when there is none.
	Latest(tx store.Tx, home, device string) (*protocol.Sample, time.Time, error)
	// Series returns metrics over [from, to) in steps of (to-from)/points. A metric may name an instance
	// in braces; without, all its instances are meant.
	Series(ctx context.Context, tenant, home, device string, metrics []string, from, to time.Time, points int) ([]Series, error)
}

// HealthSource scores devices and homes; nil means that not enough is known.
type HealthSource interface {
	DeviceHealth(tx store.Tx, lang string, home cloud.Home, device string) (*Health, error)
	HomeHealth(tx store.Tx, lang string, home cloud.Home) (*Health, error)
	// OutageOf returns the open incident that a home is in, nil when it is in none.
	OutageOf(tx store.Tx, lang string, home cloud.Home) (*Outage, error)
	// Outages returns the incidents of the last while, newest first, open ones before those that are over.
	Outages(tx store.Tx, lang string, limit int) ([]Outage, error)
}

// ProblemSource knows the batches of devices that are going bad. Names and tickets are filled in here.
type ProblemSource interface {
	List(ctx context.Context, tenant, lang, state string) ([]Problem, error)
	// Get returns a problem with its evidence and affected homes, or store.ErrNotFound.
	Get(ctx context.Context, tenant, lang, id string) (ProblemView, error)
	// OfHome returns the open problems that a home is affected by.
	OfHome(tx store.Tx, lang, home string) ([]ProblemHead, error)
}

// Signals carries WebRTC set-up between browser and device.
type Signals interface {
	ToDevice(ctx context.Context, tenant, device string, s protocol.Signal) error
	Watch(ctx context.Context, tenant, device, session string, each func(protocol.Signal) error) error
	// ICEServers returns what a browser needs to reach the device.
	ICEServers(session string, life time.Duration) ([]protocol.ICEServer, error)
}

// Enrolment makes the one-time tokens by which devices get their certificates.
type Enrolment interface {
	NewToken(ctx context.Context, tenant, device string) (token string, expires time.Time, err error)
}

func missing(what string) error {
	return cloud.Errorf(cloud.CodeUnavailable, "%s is not running in this service", what)
}
