// Package enrol lets devices in: it trades a one-time token and a certificate request for a certificate,
// and later the present certificate for the next one.
//
//	POST /v1/enrol   {token, csr}   whoever holds a token that was minted for the device
//	POST /v1/renew   {csr}          whoever presents a valid certificate (TLS client authentication)
//
// Both answer protocol.Enrolled. The device's key is made on the device and never seen here. A token works
// once; the same key may present it again for a few minutes, in case the answer got lost on its way.
package enrol

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/protocol"
)

const (
	maxBody = 16 << 10
	// again is how long a used token still answers the key that used it.
	again = 10 * time.Minute
)

// Devices says where a device belongs.
type Devices interface {
	// Home returns the home of a device, or store.ErrNotFound.
	Home(tx store.Tx, device string) (home string, err error)
}

// Timeline appends an entry.
type Timeline interface {
	Append(tx store.Tx, e cloud.Entry) error
}

// Options configures the handler. DB, CA, Devices, Timeline, Broker and CommandKeys are required.
type Options struct {
	DB          store.DB
	CA          *ca.CA
	Devices     Devices
	Timeline    Timeline
	Broker      string                       // host:port that devices are sent to; see SetBroker
	CommandKeys [][]byte                     // Ed25519 public keys of the cloud
	PlanKeys    func(tenant string) [][]byte // Ed25519 public keys that may authorise plans; may be nil
	Clock       func() time.Time             // nil means time.Now
	Logger      *slog.Logger                 // nil discards
}

// Handler serves enrolment and renewal.
type Handler struct {
	opts   Options
	broker atomic.Pointer[string]
	mux    *http.ServeMux
	now    func() time.Time
	log    *slog.Logger
}

// New checks the options.
func New(opts Options) (*Handler, error) {
	if opts.DB == nil || opts.CA == nil || opts.Devices == nil || opts.Timeline == nil || opts.Broker == "" || len(opts.CommandKeys) == 0 {
		return nil, errors.New("enrol: DB, CA, Devices, Timeline, Broker and CommandKeys are required")
	}
	h := &Handler{opts: opts, mux: http.NewServeMux(), now: opts.Clock, log: opts.Logger}
	if h.now == nil {
		h.now = time.Now
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	h.SetBroker(opts.Broker)
	h.mux.HandleFunc("POST /v1/enrol", h.answer(h.enrol))
	h.mux.HandleFunc("POST /v1/renew", h.answer(h.renew))
	return h, nil
}

// SetBroker changes where devices are sent, such as when the port is known only once it is open.
func (h *Handler) SetBroker(hostPort string) { h.broker.Store(&hostPort) }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// TLS is the configuration under which to serve the handler. A client certificate is asked for but not
// judged by the handshake, so that a device with an expired one gets an answer that says so.
func (h *Handler) TLS(server func(*tls.ClientHelloInfo) (*tls.Certificate, error)) *tls.Config {
	return &tls.Config{
		GetCertificate: server,
		ClientAuth:     tls.RequestClientCert,
		MinVersion:     tls.VersionTLS12,
	}
}

// enrol trades a token.
func (h *Handler) enrol(r *http.Request) (any, error) {
	var in protocol.Enrol
	if err := read(r, &in); err != nil {
		return nil, err
	}
	key, err := publicKey(in.CSR)
	if err != nil {
		return nil, err
	}
	tenant, secret, ok := split(in.Token)
	if !ok {
		return nil, cloud.Errorf(cloud.CodeUnauthorized, "this enrolment token is not known")
	}
	var t token
	err = h.opts.DB.Update(r.Context(), tenant, func(tx store.Tx) (err error) {
		t, err = tokens.Get(tx, hash(secret))
		if errors.Is(err, store.ErrNotFound) {
			return cloud.Errorf(cloud.CodeUnauthorized, "this enrolment token is not known")
		}
		if err != nil {
			return err
		}
		now := h.now().UTC()
		switch {
		case t.Used != nil && t.Key == key && now.Before(t.Used.Add(again)):
			return nil // the answer got lost: give it again
		case t.Used != nil:
			return cloud.Errorf(cloud.CodeConflict, "this enrolment token was used at %s", t.Used.Format(time.RFC3339))
		case now.After(t.Expires):
			return cloud.Errorf(cloud.CodeForbidden, "this enrolment token expired at %s", t.Expires.Format(time.RFC3339))
		}
		home, err := h.opts.Devices.Home(tx, t.Device)
		if errors.Is(err, store.ErrNotFound) || err == nil && home != t.Home {
			return cloud.Errorf(cloud.CodeForbidden, "the device of this enrolment token is no longer in the home that it was made for")
		}
		if err != nil {
			return err
		}
		t.Used, t.Key = &now, key
		if err := tokens.Put(tx, &t); err != nil {
			return err
		}
		return h.opts.Timeline.Append(tx, cloud.Entry{
			Home:     home,
			At:       now,
			Kind:     cloud.KindDeviceEnrolled,
			Subjects: []cloud.Ref{{Type: cloud.RefDevice, ID: t.Device}},
			Actor:    cloud.Ref{Type: cloud.RefDevice, ID: t.Device},
		})
	})
	if err != nil {
		return nil, err
	}
	h.log.Info("device enrolled", "tenant", tenant, "device", t.Device)
	return h.issue(in.CSR, ca.Identity{Tenant: tenant, Device: t.Device})
}

// renew trades a valid certificate.
func (h *Handler) renew(r *http.Request) (any, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, cloud.Errorf(cloud.CodeUnauthorized, "renewal wants the device's present certificate as TLS client certificate")
	}
	id, err := h.opts.CA.Verify(r.TLS.PeerCertificates[0])
	if errors.Is(err, ca.ErrExpired) {
		return nil, cloud.Errorf(cloud.CodeForbidden, "%s; enrol again with a new token", err)
	}
	if err != nil {
		return nil, cloud.Errorf(cloud.CodeForbidden, "%s", ca.ErrForeign)
	}
	var in protocol.Renewal
	if err := read(r, &in); err != nil {
		return nil, err
	}
	if _, err := publicKey(in.CSR); err != nil {
		return nil, err
	}
	err = h.opts.DB.View(r.Context(), id.Tenant, func(tx store.Tx) error {
		_, err := h.opts.Devices.Home(tx, id.Device)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, cloud.Errorf(cloud.CodeForbidden, "this device is in no home any more")
	}
	if err != nil {
		return nil, err
	}
	return h.issue(in.CSR, id)
}

func (h *Handler) issue(csr string, id ca.Identity) (any, error) {
	cert, err := h.opts.CA.Issue(csr, id)
	if errors.Is(err, ca.ErrRequest) || errors.Is(err, protocol.ErrInvalid) {
		return nil, cloud.Invalid("csr", "%s", err)
	}
	if err != nil {
		return nil, err
	}
	out := protocol.Enrolled{
		Tenant: id.Tenant, Device: id.Device,
		Certificate: cert, CA: string(h.opts.CA.PEM()), Broker: *h.broker.Load(),
		CommandKeys: h.opts.CommandKeys,
	}
	if h.opts.PlanKeys != nil {
		out.PlanKeys = h.opts.PlanKeys(id.Tenant)
	}
	return out, nil
}

// publicKey checks that a request can be signed before a token is spent on it, and returns a hash of its key.
func publicKey(csrPEM string) (string, error) {
	csr, err := ca.ParseRequest(csrPEM)
	if err != nil {
		return "", cloud.Invalid("csr", "%s", err)
	}
	return hash(string(csr.RawSubjectPublicKeyInfo)), nil
}

func read(r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return cloud.Invalid("body", "longer than %d bytes", maxBody)
	case err != nil:
		return cloud.Invalid("body", "%s", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return cloud.Invalid("body", "more than one JSON document")
	}
	return nil
}

// problem is an error in the form of RFC 9457.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
	Field  string `json:"field,omitempty"`
}

var statuses = map[cloud.Code]int{
	cloud.CodeInvalid:      http.StatusUnprocessableEntity,
	cloud.CodeUnauthorized: http.StatusUnauthorized,
	cloud.CodeForbidden:    http.StatusForbidden,
	cloud.CodeConflict:     http.StatusConflict,
}

// answer writes what f returns. Errors that are no cloud.Error are logged here, once, and not shown.
func (h *Handler) answer(f func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
		defer cancel()
		out, err := f(r.WithContext(ctx))
		status, kind := http.StatusOK, "application/json"
		if err != nil {
			var e *cloud.Error
			if !errors.As(err, &e) {
				h.log.Error("enrolment failed", "path", r.URL.Path, "error", err)
				e = &cloud.Error{Code: cloud.CodeUnavailable, Message: "try again later"}
			} else {
				h.log.Info("enrolment refused", "path", r.URL.Path, "code", string(e.Code), "reason", e.Message)
			}
			if status = statuses[e.Code]; status == 0 {
				status = http.StatusServiceUnavailable
			}
			out, kind = problem{http.StatusText(status), status, e.Message, string(e.Code), e.Field}, "application/problem+json"
		}
		b, err := json.Marshal(out)
		if err != nil {
			h.log.Error("enrolment failed", "path", r.URL.Path, "error", fmt.Errorf("encode answer: %w", err))
			status, b = http.StatusInternalServerError, nil
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		w.Write(b)
	}
}
