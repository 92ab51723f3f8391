package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/identity"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

const (
	// LookAgain is how often a stream of changes makes those who watch look without a wake: one may have been
	// lost with the broker, or with the instance that was to send it. So it is also the longest silence, below
	// the idle limit of every proxy we know.
	LookAgain    = 20 * time.Second
	writeTimeout = 10 * time.Second // a reader that takes nothing for so long is gone
)

// send writes one server-sent event (WHATWG HTML, 9.2) and flushes it.
type send func(event string, data any) error

// stream registers an operation that answers with server-sent events. open checks the request before the
// answer begins; what it returns runs until the caller is gone.
func stream[I any](a *API, id string, events map[string]any, open func(context.Context, *I) (func(context.Context, send) error, error)) {
	op := a.operation(id)
	var kinds []*huma.Schema
	for _, name := range sortedKeys(events) {
		kinds = append(kinds, &huma.Schema{
			Title: name, Type: huma.TypeObject,
			Properties: map[string]*huma.Schema{"data": a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(events[name]), true, name)},
		})
	}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Server-sent events",
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{OneOf: kinds}}},
	}}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*huma.StreamResponse, error) {
		run, err := open(ctx, in)
		if err != nil {
			return nil, fault(ctx, a.opts.Logger, id, err)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			hctx.SetHeader("Content-Type", "text/event-stream")
			hctx.SetHeader("X-Accel-Buffering", "no")
			w, ok := hctx.BodyWriter().(http.ResponseWriter)
			if !ok {
				return
			}
			rc := http.NewResponseController(w)
			ctx, cancel := context.WithCancel(hctx.Context())
			defer cancel()
			// The caller learns that the stream stands before there is anything to say: a browser offers
			// a remote session only then, so that it cannot miss the answer.
			if rc.Flush() != nil {
				return
			}
			run(ctx, func(event string, data any) error {
				b, err := json.Marshal(data)
				if err != nil {
					return err
				}
				rc.SetWriteDeadline(time.Now().Add(writeTimeout))
				if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, b); err != nil {
					return err
				}
				return rc.Flush()
			})
		}}, nil
	})
}

// changes tells of every change of homes until the caller is gone. The first event comes at once: who
// connects again has missed something.
func (a *API) changes(tenant string, homes ...string) (func(context.Context, send) error, error) {
	if a.Live == nil {
		return nil, missing("the live view")
	}
	return func(ctx context.Context, send send) error {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		woken := make(chan string)
		for _, home := range homes {
			ch, stop := a.Live.Subscribe(tenant, home)
			defer stop()
			wg.Go(func() {
				for {
					select {
					case <-ch:
					case <-ctx.Done():
						return
					}
					select {
					case woken <- home:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		again := time.NewTicker(LookAgain)
		defer again.Stop()
		err := send("changed", Changed{})
		for err == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case home := <-woken:
				err = send("changed", Changed{home})
			case <-again.C:
				err = send("changed", Changed{})
			}
		}
		return err
	}, nil
}

// signals passes on what the device says in a session until the caller is gone, and "alive" every
// LookAgain: people may take long to agree to a session, and no proxy may end the stream meanwhile.
func (a *API) signals(tenant, device, session string) func(context.Context, send) error {
	return func(ctx context.Context, send send) error {
		ctx, cancel := context.WithCancel(ctx)
		var wg sync.WaitGroup
		defer wg.Wait()
		defer cancel()
		var mu sync.Mutex // one event after the other
		wg.Go(func() {
			alive := time.NewTicker(LookAgain)
			defer alive.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-alive.C:
				}
				mu.Lock()
				err := send("alive", Alive{})
				mu.Unlock()
				if err != nil {
					cancel()
					return
				}
			}
		})
		return a.Signals.Watch(ctx, tenant, device, session, func(sig protocol.Signal) error {
			mu.Lock()
			defer mu.Unlock()
			return send("signal", Signal{Kind: sig.Kind, Body: sig.Body})
		})
	}
}

// backup streams the store. A reader finds out by the checksum whether it has all of it.
func (a *API) backup(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	if a.Backup == nil {
		return nil, fault(ctx, a.opts.Logger, "backup", missing("a store that makes backups"))
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		hctx.SetHeader("Content-Type", "application/octet-stream")
		if n, err := a.Backup(hctx.BodyWriter()); err != nil {
			a.opts.Logger.Error("backup broke off", "bytes", n, "error", err)
		}
	}}, nil
}

func (a *API) registerStreams() {
	op := a.operation("backup")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "The backup", Content: map[string]*huma.MediaType{"application/octet-stream": {}},
	}}
	huma.Register(a.huma, op, a.backup)
	events := map[string]any{"changed": Changed{}}
	stream(a, "events", events, func(ctx context.Context, _ *struct{}) (func(context.Context, send) error, error) {
		return a.changes(who(ctx).tenant, "")
	})
	stream(a, "home-events", events, func(ctx context.Context, in *InHome) (func(context.Context, send) error, error) {
		return a.changes(who(ctx).tenant, in.Home)
	})
	stream(a, "inbox-events", events, func(ctx context.Context, _ *struct{}) (func(context.Context, send) error, error) {
		c := who(ctx)
		var homes []string
		err := a.DB.View(ctx, c.tenant, func(tx store.Tx) error {
			ms, err := identity.Homes(tx, c.customer)
			homes = nil
			for _, m := range ms {
				if m.End == nil {
					homes = append(homes, m.Home)
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		return a.changes(c.tenant, homes...)
	})
	stream(a, "signals", map[string]any{"signal": Signal{}, "alive": Alive{}}, func(ctx context.Context, in *InSession) (func(context.Context, send) error, error) {
		if a.Signals == nil {
			return nil, missing("remote assistance")
		}
		tenant := who(ctx).tenant
		s, err := a.session(ctx, tenant, in.Session)
		if err != nil {
			return nil, err
		}
		if s.State == "closed" {
			return nil, cloud.Errorf(cloud.CodeConflict, "the session is closed")
		}
		return a.signals(tenant, s.Device, s.ID), nil
	})
}
