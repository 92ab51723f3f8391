// Package httpapi is the service over HTTP: an OpenAPI document at /openapi.json, JSON in snake_case,
// errors as Problem Details (RFC 9457) that name the offending field, live changes as server-sent events.
//
// One table (routes) says who may call what. Staff sign in with a password and carry a cookie; a customer
// opens the inbox by a signed token and carries another. Whoever carries a cookie must send the CSRF token
// along with every request that is not a GET. Texts come in the language of the lang parameter or of
// Accept-Language.
package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/hearthline/hearthline/cloud/store"
)

// MaxBody bounds a request's body in bytes: an SDP offer is the largest thing anybody sends.
const MaxBody = 64 << 10

// Options is what the API serves. A nil service makes its operations answer 503, but DB and Access, which
// are required to serve at all; with neither, the API can only be described.
type Options struct {
	Services
	Version string           // of the program, for /healthz and the OpenAPI document
	Secure  bool             // cookies only over HTTPS
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // nil is time.Now
}

// API is the handler of everything below /v1, /healthz and /openapi.json. It is safe for concurrent use.
type API struct {
	Services
	opts Options
	mux  *http.ServeMux
	huma huma.API
	byID map[string]route
	seen map[string]bool

	doors *doors
}

// New builds the API.
func New(opts Options) (*API, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	useFaults()
	a := &API{Services: opts.Services, opts: opts, mux: http.NewServeMux(), byID: map[string]route{}, seen: map[string]bool{}, doors: newDoors()}
	for _, r := range routes {
		a.byID[r.id] = r
	}
	config := huma.DefaultConfig("Hearthline", opts.Version)
	config.Info.Description = "The support plane of a smart-home vendor: who called, what their home reports, what was done about it, and why. " +
		"Texts come in the asked language; a moment in one is RFC 3339, for the page to show in its reader's time zone."
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	config.RejectUnknownQueryParameters = true
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"staff":    {Type: "apiKey", In: "cookie", Name: staffCookie},
		"customer": {Type: "apiKey", In: "cookie", Name: inboxCookie},
		"bearer":   {Type: "http", Scheme: "bearer", Description: "A session's or an inbox's token, for programs"},
	}
	a.huma = humago.New(a.mux, config)
	a.huma.UseMiddleware(a.authorize)
	a.registerAuth()
	a.registerViews()
	a.registerDesk()
	a.registerSessions()
	a.registerProvisioning()
	a.registerModels()
	a.registerInbox()
	a.registerStreams()
	for _, r := range routes {
		if !a.seen[r.id] {
			return nil, fmt.Errorf("httpapi: route %s has no operation", r.id)
		}
	}
	return a, nil
}

// OpenAPI returns the description of the API as JSON.
func (a *API) OpenAPI() ([]byte, error) { return a.huma.OpenAPI().MarshalJSON() }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	a.mux.ServeHTTP(w, r)
}

func (a *API) operation(id string) huma.Operation {
	r, ok := a.byID[id]
	if !ok || a.seen[id] {
		panic("httpapi: operation " + id + " is not in the table of routes, or twice") // a test builds the API
	}
	a.seen[id] = true
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Summary: r.says,
		MaxBodyBytes: MaxBody,
		Errors:       []int{http.StatusUnprocessableEntity, http.StatusNotFound, http.StatusServiceUnavailable},
	}
	if schemes := r.who.Schemes(); len(schemes) > 0 {
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden)
		for _, s := range append(schemes, "bearer") {
			op.Security = append(op.Security, map[string][]string{s: {}})
		}
	}
	return op
}

// handle registers the operation of a route and turns its errors into answers.
func handle[I, O any](a *API, id string, do func(context.Context, *I) (*O, error), change ...func(*huma.Operation)) {
	op := a.operation(id)
	for _, c := range change {
		c(&op)
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, fault(ctx, a.opts.Logger, id, err)
		}
		return out, nil
	})
}

// body is an answer that is nothing but its body.
type body[T any] struct{ Body T }

func answer[T any](v T, err error) (*body[T], error) {
	if err != nil {
		return nil, err
	}
	return &body[T]{v}, nil
}

// none is an answer without a body.
type none struct{}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// view runs a read of the caller's tenant.
func (a *API) view(ctx context.Context, fn func(tx store.Tx) error) error {
	return a.DB.View(ctx, who(ctx).tenant, fn)
}

// update runs a write of the caller's tenant.
func (a *API) update(ctx context.Context, fn func(tx store.Tx) error) error {
	return a.DB.Update(ctx, who(ctx).tenant, fn)
}

// InLang is the language in which the caller wants texts.
type InLang struct {
	Lang   string `query:"lang" maxLength:"35" doc:"en, zh-CN or zh-TW; default is Accept-Language"`
	Accept string `header:"Accept-Language" hidden:"true"`
}

func (l InLang) String() string {
	if l.Lang != "" {
		return l.Lang
	}
	return l.Accept
}
