package enrol_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/agent/agenttest"
	"github.com/hearthline/hearthline/agent/enrol"
	"github.com/hearthline/hearthline/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// office is the cloud's side of enrolment.
type office struct {
	ca     *agenttest.CA
	life   time.Duration
	broken atomic.Int32 // answers so many requests with 503 before it works
	seen   atomic.Pointer[protocol.Enrol]
	url    string
	renews atomic.Int32
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{ca: agenttest.NewCA(t), life: time.Hour}
	answer := func(w http.ResponseWriter, csr string) {
		_ = json.NewEncoder(w).Encode(protocol.Enrolled{
			Tenant: "acme", Device: "hub-1", CA: o.ca.PEM(), Broker: "127.0.0.1:8883",
			Certificate: o.ca.Sign(t, csr, "acme/hub-1", time.Now().Add(-time.Second), time.Now().Add(o.life)),
			CommandKeys: [][]byte{make([]byte, 32)}, PlanKeys: [][]byte{make([]byte, 32)},
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/enrol", func(w http.ResponseWriter, r *http.Request) {
		var e protocol.Enrol
		_ = json.NewDecoder(r.Body).Decode(&e)
		o.seen.Store(&e)
		switch {
		case o.broken.Add(-1) >= 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case e.Token == "portal":
			http.Redirect(w, r, "https://portal.example/", http.StatusFound)
		case e.Token != "once":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"title":"Unauthorized","detail":"this enrolment token is not known"}`))
		default:
			answer(w, e.CSR)
		}
	})
	mux.HandleFunc("POST /v1/renew", func(w http.ResponseWriter, r *http.Request) {
		var e protocol.Renewal
		_ = json.NewDecoder(r.Body).Decode(&e)
		if len(r.TLS.PeerCertificates) == 0 {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		o.renews.Add(1)
		answer(w, e.CSR)
	})
	s := httptest.NewUnstartedServer(mux)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{o.ca.Issue(t, "localhost", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))}, ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	o.url = s.URL
	return o
}

func (o *office) fingerprint() string {
	sum := sha256.Sum256(o.ca.Cert.Raw)
	return hex.EncodeToString(sum[:])
}

func TestADeviceTrustsTheCloudByItsAuthorityOrItsFingerprint(t *testing.T) {
	o := newOffice(t)
	for name, c := range map[string]struct {
		opts enrol.Options
		ok   bool
	}{
		"the authority":            {enrol.Options{CA: []byte(o.ca.PEM())}, true},
		"its fingerprint":          {enrol.Options{CASHA256: o.fingerprint()}, true},
		"its fingerprint, colons":  {enrol.Options{CASHA256: strings.ToUpper(o.fingerprint()[:2] + ":" + o.fingerprint()[2:])}, true},
		"another authority":        {enrol.Options{CA: []byte(agenttest.NewCA(t).PEM())}, false},
		"another fingerprint":      {enrol.Options{CASHA256: strings.Repeat("0", 64)}, false},
		"half a fingerprint":       {enrol.Options{CASHA256: "00"}, false},
		"whatever the system says": {enrol.Options{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o.seen.Store(nil)
			c.opts.Dir, c.opts.URL, c.opts.Token = t.TempDir(), o.url, "once"
			id, err := enrol.First(t.Context(), c.opts)
			if c.ok != (err == nil) {
				t.Fatalf("%v", err)
			}
			if !c.ok {
				if o.seen.Load() != nil {
					t.Error("the token was sent to who was not trusted")
				}
				return
			}
			if id.Device != "hub-1" || len(id.CommandKeys) != 1 {
				t.Errorf("%+v", id)
			}
			again, err := enrol.Load(c.opts.Dir)
			if err != nil || again.Tenant != "acme" {
				t.Errorf("loaded %+v, %v", again, err)
			}
		})
	}
}

func TestTheSameKeyAsksAgainWhenAnAnswerGotLost(t *testing.T) {
	o := newOffice(t)
	o.broken.Store(1)
	opts := enrol.Options{Dir: t.TempDir(), URL: o.url, Token: "once", CA: []byte(o.ca.PEM())}
	if _, err := enrol.First(t.Context(), opts); err == nil || errors.Is(err, enrol.ErrRefused) {
		t.Fatalf("a cloud that is out of order: %v", err)
	}
	first := o.seen.Load().CSR
	if _, err := enrol.First(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	key := func(text string) string {
		block, _ := pem.Decode([]byte(text))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return string(csr.RawSubjectPublicKeyInfo)
	}
	if key(first) != key(o.seen.Load().CSR) {
		t.Error("the second request was made with another key")
	}
	if _, err := os.Stat(filepath.Join(opts.Dir, "pending.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pending key is still there: %v", err)
	}
}

func TestARefusalIsFinalAndInTheCloudsWords(t *testing.T) {
	o := newOffice(t)
	opts := enrol.Options{Dir: t.TempDir(), URL: o.url, Token: "twice", CA: []byte(o.ca.PEM())}
	if _, err := enrol.First(t.Context(), opts); !errors.Is(err, enrol.ErrRefused) || !strings.Contains(err.Error(), "not known") {
		t.Errorf("%v", err)
	}
	opts.Token = "portal"
	if _, err := enrol.First(t.Context(), opts); err == nil || errors.Is(err, enrol.ErrRefused) {
		t.Errorf("a portal that redirects: %v", err)
	}
	opts.URL = strings.Replace(o.url, "https", "http", 1)
	if _, err := enrol.First(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("without TLS: %v", err)
	}
}

func TestACertificateIsRenewedAfterTwoThirdsOfItsLife(t *testing.T) {
	o := newOffice(t)
	o.life = 2 * time.Second
	opts := enrol.Options{Dir: t.TempDir(), URL: o.url, Token: "once", CA: []byte(o.ca.PEM())}
	id, err := enrol.First(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	o.life = time.Hour
	k := enrol.NewKeeper(opts, id, nil)
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() { <-done })
	for late := time.Now().Add(20 * time.Second); k.Identity() == id; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("not renewed within 20 s")
		}
	}
	leaf := id.Certificate.Leaf
	if now := time.Now(); now.Before(leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)) {
		t.Error("renewed before half of the life")
	}
	loaded, err := enrol.Load(opts.Dir)
	if err != nil || !loaded.Certificate.Leaf.Equal(k.Identity().Certificate.Leaf) || o.renews.Load() != 1 {
		t.Errorf("on disk is another certificate, %d renewals (%v)", o.renews.Load(), err)
	}
}
