package httpapi

import (
	"context"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/desk"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/session"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

// clockSlack is how far a caller's clock may be ahead of ours.
const clockSlack = 5 * time.Minute

func (a *API) registerSessions() {
	handle(a, "ask-session", func(ctx context.Context, in *inAskSession) (*body[cloud.Session], error) {
		var s cloud.Session
		err := a.update(ctx, func(tx store.Tx) error {
			d, err := fleet.Device(tx, in.Device)
			if err != nil {
				return err
			}
			if in.Body.Ticket != "" {
				if t, err := desk.Ticket(tx, in.Body.Ticket); err != nil || t.Home != d.Home {
					return cloud.Invalid("body.ticket", "there is no such ticket of this home")
				}
			}
			var e cloud.Entry
			if s, e, err = a.Sessions.Ask(tx, d, in.Body.Ticket, in.Body.Allow, who(ctx).actor()); err != nil {
				return err
			}
			if err := a.Log.Append(tx, e); err != nil {
				return err
			}
			s, err = session.Get(tx, s.ID)
			return err
		})
		return answer(s, err)
	})
	handle(a, "session", func(ctx context.Context, in *InSession) (*body[SessionView], error) {
		v := SessionView{ICEServers: []protocol.ICEServer{}}
		err := a.view(ctx, func(tx store.Tx) (err error) {
			if v.Session, err = session.Get(tx, in.Session); err != nil {
				return err
			}
			c, ok, err := session.ConsentOf(tx, &v.Session)
			if ok {
				v.Consent = &c
			}
			return err
		})
		if err == nil && a.Signals != nil && v.State != "closed" {
			v.ICEServers, err = a.Signals.ICEServers(v.ID, session.MaxLife)
			v.ICEServers = full(v.ICEServers)
		}
		return answer(v, err)
	})
	handle(a, "session-opened", func(ctx context.Context, in *InSession) (*none, error) {
		return nil, a.onSession(ctx, in.Session, session.Opened)
	})
	handle(a, "close-session", func(ctx context.Context, in *InSession) (*none, error) {
		return nil, a.onSession(ctx, in.Session, func(s *cloud.Session, actor cloud.Ref) (cloud.Entry, error) {
			e, ok := session.Close(s, actor)
			if !ok {
				return e, cloud.Errorf(cloud.CodeConflict, "the session is closed already")
			}
			return e, nil
		})
	})
	handle(a, "signal", func(ctx context.Context, in *inSignal) (*none, error) {
		if a.Signals == nil {
			return nil, missing("remote assistance")
		}
		s, err := a.session(ctx, who(ctx).tenant, in.Session)
		if err != nil {
			return nil, err
		}
		if s.State == "closed" || s.State == "waiting" {
			return nil, cloud.Errorf(cloud.CodeConflict, "the session is %s; the device does not listen", s.State)
		}
		return nil, a.Signals.ToDevice(ctx, who(ctx).tenant, s.Device, protocol.Signal{
			Version: protocol.Version, Session: s.ID, Kind: in.Body.Kind, Body: in.Body.Body,
		})
	})
}

func (a *API) session(ctx context.Context, tenant, id string) (s cloud.Session, err error) {
	err = a.DB.View(ctx, tenant, func(tx store.Tx) (err error) {
		s, err = session.Get(tx, id)
		return err
	})
	return s, err
}

func (a *API) onSession(ctx context.Context, id string, entry func(*cloud.Session, cloud.Ref) (cloud.Entry, error)) error {
	return a.update(ctx, func(tx store.Tx) error {
		s, err := session.Get(tx, id)
		if err != nil {
			return err
		}
		e, err := entry(&s, who(ctx).actor())
		if err != nil {
			return err
		}
		return a.Log.Append(tx, e)
	})
}
