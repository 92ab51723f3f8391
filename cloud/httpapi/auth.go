package httpapi

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/time/rate"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/access"
	"github.com/hearthline/hearthline/cloud/store"
)

const (
	staffCookie = "hearth_session"
	inboxCookie = "hearth_inbox"
	csrfHeader  = "X-CSRF-Token"
)

// caller is who makes a request: a person of staff, or a customer.
type caller struct {
	tenant   string
	staff    access.Staff
	session  access.Session
	token    string // of the session
	customer string
	csrf     string
}

func (c *caller) actor() cloud.Ref {
	if c.customer != "" {
		return cloud.Ref{Type: cloud.RefCustomer, ID: c.customer}
	}
	return cloud.Ref{Type: cloud.RefStaff, ID: c.staff.ID}
}

type callerKey struct{}

// who returns the caller that authorize put into the context.
func who(ctx context.Context) *caller { return ctx.Value(callerKey{}).(*caller) }

// authorize lets a request through to its operation when its caller is in the operation's group.
func (a *API) authorize(ctx huma.Context, next func(huma.Context)) {
	r := a.byID[ctx.Operation().OperationID]
	if r.who == access.Anyone {
		next(ctx)
		return
	}
	c, cookie, err := a.identify(ctx, r.who)
	if err == nil && cookie && r.method != http.MethodGet && !sameToken(ctx.Header(csrfHeader), c.csrf) {
		err = cloud.Errorf(cloud.CodeForbidden, "the %s header is missing or wrong", csrfHeader)
	}
	if err == nil && r.who != access.Customers {
		err = access.MustBe(r.who, c.staff.Role)
	}
	if err != nil {
		a.refuse(ctx, err)
		return
	}
	next(huma.WithValue(ctx, callerKey{}, c))
}

func sameToken(a, b string) bool {
	return b != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}

func (a *API) refuse(ctx huma.Context, err error) {
	f := fault(ctx.Context(), a.opts.Logger, ctx.Operation().OperationID, err).(*Fault)
	huma.WriteErr(a.huma, ctx, f.Status, f.Detail)
}

// identify finds out who calls, by a cookie or, for programs, by a bearer token.
func (a *API) identify(ctx huma.Context, group access.Group) (c *caller, cookie bool, err error) {
	if a.DB == nil || a.Inbox == nil {
		return nil, false, missing("the store")
	}
	name := staffCookie
	if group == access.Customers {
		name = inboxCookie
	}
	token, bearer := strings.CutPrefix(ctx.Header("Authorization"), "Bearer ")
	if !bearer {
		k, err := huma.ReadCookie(ctx, name)
		if err != nil {
			return nil, false, cloud.Errorf(cloud.CodeUnauthorized, "sign in first")
		}
		token = k.Value
	}
	if group == access.Customers {
		tenant, customer, err := a.Inbox.Open(token, a.opts.Now())
		if err != nil {
			return nil, false, err
		}
		return &caller{tenant: tenant, customer: customer, csrf: a.Inbox.CSRF(token)}, !bearer, nil
	}
	tenant, secret, _ := strings.Cut(token, ".")
	if store.CheckTenant(tenant) != nil {
		return nil, false, cloud.Errorf(cloud.CodeUnauthorized, "sign in first")
	}
	c = &caller{tenant: tenant, token: secret}
	stale := false
	err = a.DB.View(ctx.Context(), tenant, func(tx store.Tx) (err error) {
		c.session, c.staff, stale, err = access.Resume(tx, secret, a.opts.Now())
		return err
	})
	if err != nil {
		return nil, false, err
	}
	if stale {
		err = a.DB.Update(ctx.Context(), tenant, func(tx store.Tx) error { return access.Renew(tx, c.session, a.opts.Now()) })
	}
	c.csrf = c.session.CSRF
	return c, !bearer, err
}

func (a *API) cookie(name, value string, life time.Duration) string {
	c := http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(life.Seconds()), HttpOnly: true,
		SameSite: http.SameSiteStrictMode, Secure: a.opts.Secure,
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c.String()
}

func (a *API) registerAuth() {
	handle(a, "sign-in", func(ctx context.Context, in *inSignIn) (*signedIn, error) {
		if a.DB == nil {
			return nil, missing("the store")
		}
		tenant := in.Body.Tenant
		if tenant == "" {
			tenant = a.Tenant
		}
		if !a.doors.allow(tenant+"/"+strings.ToLower(in.Body.Name), a.opts.Now()) {
			return nil, newFault(http.StatusTooManyRequests, "too many attempts with this name; wait a minute")
		}
		var s access.Staff
		err := a.doors.one(func() error {
			return a.DB.View(ctx, tenant, func(tx store.Tx) (err error) {
				s, err = access.Check(tx, in.Body.Name, in.Body.Password)
				return err
			})
		})
		if err != nil {
			return nil, err
		}
		var token string
		var ses access.Session
		err = a.DB.Update(ctx, tenant, func(tx store.Tx) (err error) {
			token, ses, err = access.Begin(tx, s, a.opts.Now())
			return err
		})
		if err != nil {
			return nil, err
		}
		return &signedIn{
			SetCookie: []string{a.cookie(staffCookie, tenant+"."+token, access.SessionLife)},
			Body:      Me{Staff: staffView(s), Tenant: tenant, CSRF: ses.CSRF},
		}, nil
	})
	handle(a, "sign-out", func(ctx context.Context, _ *struct{}) (*signedOut, error) {
		c := who(ctx)
		err := a.DB.Update(ctx, c.tenant, func(tx store.Tx) error { return access.End(tx, c.token) })
		return &signedOut{[]string{a.cookie(staffCookie, "", 0)}}, err
	})
	handle(a, "me", func(ctx context.Context, _ *struct{}) (*body[Me], error) {
		c := who(ctx)
		return answer(Me{Staff: staffView(c.staff), Tenant: c.tenant, CSRF: c.csrf}, nil)
	})
	handle(a, "change-password", func(ctx context.Context, in *inPassword) (*none, error) {
		c := who(ctx)
		err := a.doors.one(func() error {
			return a.DB.View(ctx, c.tenant, func(tx store.Tx) error {
				_, err := access.Check(tx, c.staff.Name, in.Body.Old)
				return err
			})
		})
		if err != nil {
			return nil, cloud.Invalid("body.old", "this is not your password")
		}
		return nil, a.DB.Update(ctx, c.tenant, func(tx store.Tx) error {
			return access.SetPassword(tx, c.staff.ID, in.Body.New, c.session.Hash)
		})
	})
	handle(a, "add-staff", func(ctx context.Context, in *inStaff) (*body[Staff], error) {
		var s access.Staff
		err := a.DB.Update(ctx, who(ctx).tenant, func(tx store.Tx) (err error) {
			s, err = access.AddStaff(tx, in.Body.Name, access.Role(in.Body.Role), in.Body.Password, a.opts.Now())
			return err
		})
		return answer(staffView(s), err)
	})
	handle(a, "open-inbox", func(ctx context.Context, in *inOpenInbox) (*openedInbox, error) {
		if a.Inbox == nil {
			return nil, missing("the inbox")
		}
		if _, _, err := a.Inbox.Open(in.Body.Token, a.opts.Now()); err != nil {
			return nil, err
		}
		out := &openedInbox{SetCookie: []string{a.cookie(inboxCookie, in.Body.Token, access.InboxLife)}}
		out.Body.CSRF = a.Inbox.CSRF(in.Body.Token)
		return out, nil
	})
}

func staffView(s access.Staff) Staff { return Staff{ID: s.ID, Name: s.Name, Role: string(s.Role)} }

// doors slows down guessing: a few attempts a minute for each name, and two at a time for all, since
// checking a password takes 19 MiB and much of a processor.
type doors struct {
	mu     sync.Mutex
	byName map[string]*rate.Limiter
	both   chan struct{}
}

func newDoors() *doors {
	return &doors{byName: map[string]*rate.Limiter{}, both: make(chan struct{}, 2)}
}

func (d *doors) allow(name string, now time.Time) bool {
	const attempts, every, most = 8, 8 * time.Second, 10_000
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.byName[name]
	if l == nil {
		if len(d.byName) >= most { // names that nobody has; the true ones get a fresh start
			clear(d.byName)
		}
		l = rate.NewLimiter(rate.Every(every), attempts)
		d.byName[name] = l
	}
	return l.AllowN(now, 1)
}

func (d *doors) one(do func() error) error {
	d.both <- struct{}{}
	defer func() { <-d.both }()
	return do()
}
