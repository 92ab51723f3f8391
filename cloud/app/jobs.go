package app

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/effects"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/gateway/command"
	"github.com/hearthline/hearthline/cloud/health"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/notify"
	"github.com/hearthline/hearthline/cloud/outbreak"
	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cloud/remedy"
	"github.com/hearthline/hearthline/cloud/session"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// tablesOf lists whatever keeps something.
var tablesOf = []func() []store.Declared{
	timeline.Tables, identity.Tables, fleet.Tables, desk.Tables, session.Tables, notify.Tables, access.Tables,
	remedy.Tables, gateway.Tables, telemetry.Tables, outbreak.Tables, health.Tables, predict.Tables,
}

// jobs is the one table of who does what outside of a transaction, by queue.
func (a *App) jobs() map[string]effects.Handler {
	keep := telemetry.Jobs{DB: a.db, Clock: a.believed}
	return map[string]effects.Handler{
		command.Queue:         func(ctx context.Context, j store.Job) error { return a.gateway.Commands().Deliver(ctx, j) },
		telemetry.QueueHour:   keep.RollUp,
		telemetry.QueueForget: keep.Forget,
		remedy.QueueOverdue:   a.timer(a.remedy.Overdue),
		remedy.QueueLook:      a.timer(a.remedy.Look),
		session.QueueTimeout:  a.timer(a.sessions.Timeout),
		fleet.QueueAway: a.timer(func(tx store.Tx, payload []byte, log func(store.Tx, cloud.Entry) error) error {
			return fleet.Presence{Log: log}.StillAway(tx, payload)
		}),
		session.QueueEnd:   a.endSession,
		outbreak.QueueScan: a.outbreak.Handle,
		health.QueueSweep:  a.health.Handle,
		predict.QueueLook:  a.rollout.Look,
		predict.QueueSend:  a.rollout.Send,
	}
}

// believed is the time by which what is old is deleted: a step of the clock does not age anything.
func (a *App) believed() time.Time {
	if a.clock == nil {
		return a.now()
	}
	now, _ := a.clock.Now()
	return now
}

// timer runs the work of a timer, which only writes, in one transaction.
func (a *App) timer(do func(tx store.Tx, payload []byte, log func(store.Tx, cloud.Entry) error) error) effects.Handler {
	return func(ctx context.Context, j store.Job) error {
		return a.db.Update(ctx, j.Tenant, func(tx store.Tx) error { return do(tx, j.Payload, a.timeline.Append) })
	}
}

// endSession tells a device that its session is over. One that is away ends it by itself: it knows when.
func (a *App) endSession(ctx context.Context, j store.Job) error {
	var end session.End
	if err := json.Unmarshal(j.Payload, &end); err != nil {
		return effects.Permanent(fmt.Errorf("read job of queue %s: %w", session.QueueEnd, err))
	}
	err := a.relay.ToDevice(ctx, j.Tenant, end.Device, protocol.Signal{Session: end.Session, Kind: "end", Body: end.Reason})
	if cloud.CodeOf(err) == cloud.CodeUnavailable {
		return nil
	}
	return err
}
