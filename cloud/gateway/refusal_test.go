package gateway_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/protocol"
)

type problem struct {
	Status              int
	Detail, Code, Field string
}

func TestEnrolmentAnswersBadInputClearlyAndWithoutEffect(t *testing.T) {
	w := newWorld(t, "hub1", "hub2")
	_, csr := newKey(t)
	_, other := newKey(t)
	used := w.token("hub1")
	var first protocol.Enrolled
	if code := w.post("/v1/enrol", protocol.Enrol{Token: used, CSR: csr}, nil, &first); code != 200 {
		t.Fatal(code)
	}
	var short string
	w.update(func(tx store.Tx) (err error) {
		short, err = w.gw.MintToken(tx, "home1", "hub2", time.Second)
		return err
	})
	fresh := w.token("hub2")
	w.ahead.Store(int64(2 * time.Second))

	for _, test := range []struct {
		name   string
		body   any
		status int
		detail string
		field  string
	}{
		{"an unknown token", protocol.Enrol{Token: "acme." + strings.Repeat("a", 32), CSR: csr}, 401, "not known", ""},
		{"a token of another tenant", protocol.Enrol{Token: "other." + strings.TrimPrefix(fresh, "acme."), CSR: csr}, 401, "not known", ""},
		{"no token", protocol.Enrol{CSR: csr}, 401, "not known", ""},
		{"a used token with another key", protocol.Enrol{Token: used, CSR: other}, 409, "was used at", ""},
		{"an expired token", protocol.Enrol{Token: short, CSR: csr}, 403, "expired at", ""},
		{"a request that is no PEM", protocol.Enrol{Token: fresh, CSR: "x"}, 422, "PEM", "csr"},
		{"an unknown field", `{"token":"` + fresh + `","csr":"x","role":"admin"}`, 422, "role", "body"},
		{"no JSON", `hello`, 422, "invalid character", "body"},
		{"two documents", `{} {}`, 422, "more than one", "body"},
		{"an endless body", `{"csr":"` + strings.Repeat("x", 1<<20) + `"}`, 422, "longer than", "body"},
	} {
		var p problem
		code := w.post("/v1/enrol", test.body, nil, &p)
		if code != test.status || p.Status != code || !strings.Contains(p.Detail, test.detail) || p.Field != test.field {
			t.Errorf("%s: status %d, %+v", test.name, code, p)
		}
	}
	if n := len(w.entries()); n != 1 {
		t.Errorf("%d entries, want the one enrolment", n)
	}
	var again protocol.Enrolled
	if code := w.post("/v1/enrol", protocol.Enrol{Token: used, CSR: csr}, nil, &again); code != 200 || again.Device != "hub1" {
		t.Errorf("the key whose answer got lost: status %d, %+v", code, again)
	}
	if code := w.post("/v1/enrol", protocol.Enrol{Token: fresh, CSR: csr}, nil, &again); code != 200 || again.Device != "hub2" {
		t.Errorf("a token that was only presented with bad requests: status %d, %+v", code, again)
	}
}

func TestRenewalWantsAValidCertificateOfOurs(t *testing.T) {
	w := newWorld(t, "hub1")
	id := w.enrol("hub1")
	_, csr := newKey(t)
	expired := w.issued(t, filepath.Join(w.dir, "gateway"), time.Now().Add(-100*24*time.Hour))
	foreign := w.issued(t, t.TempDir(), time.Now())
	for _, test := range []struct {
		name   string
		cert   *tls.Certificate
		status int
		detail string
	}{
		{"none", nil, 401, "client certificate"},
		{"expired", &expired, 403, "expired or not yet valid"},
		{"foreign", &foreign, 403, "not one of ours"},
	} {
		var p problem
		if code := w.post("/v1/renew", protocol.Renewal{CSR: csr}, test.cert, &p); code != test.status || !strings.Contains(p.Detail, test.detail) {
			t.Errorf("%s: status %d, %+v", test.name, code, p)
		}
	}
	var next protocol.Enrolled
	if code := w.post("/v1/renew", protocol.Renewal{CSR: csr}, &id.cert, &next); code != 200 || next.Device != "hub1" || next.Certificate == id.got.Certificate {
		t.Errorf("status %d, %+v", code, next)
	}
}

// issued returns a certificate of hub1 by the authority in dir, signed at a time.
func (w *world) issued(t *testing.T, dir string, at time.Time) tls.Certificate {
	t.Helper()
	authority, err := ca.Open(ca.Options{Dir: dir, Clock: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	key, csr := newKey(t)
	chain, err := authority.Issue(csr, ca.Identity{Tenant: tenant, Device: "hub1"})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(chain))
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key}
}

func TestTheDoorRefusesWhoIsNotTheDeviceOfItsCertificate(t *testing.T) {
	w := newWorld(t, "hub1", "hub2")
	id := w.enrol("hub1")
	gone := w.enrol("hub2")
	expired := w.issued(t, filepath.Join(w.dir, "gateway"), time.Now().Add(-100*24*time.Hour))
	foreign := w.issued(t, t.TempDir(), time.Now())
	for _, test := range []struct {
		name string
		cert *tls.Certificate
		id   string
		want string
	}{
		{"no certificate", nil, "hub1", "certificate required"},
		{"an expired certificate", &expired, "hub1", "expired certificate"},
		{"a certificate of another authority", &foreign, "hub1", "unknown certificate authority"},
		{"the client id of another device", &id.cert, "hub2", "identifier rejected"},
		{"a client id with a wildcard", &id.cert, "+", "identifier rejected"},
		{"no client id", &id.cert, "", "identifier rejected"},
	} {
		o := id.options(test.id)
		conf := &tls.Config{RootCAs: id.ca}
		if test.cert != nil {
			conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return test.cert, nil }
		}
		tok := mqtt.NewClient(o.SetTLSConfig(conf)).Connect()
		if !tok.WaitTimeout(10*time.Second) || tok.Error() == nil || !strings.Contains(tok.Error().Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, tok.Error(), test.want)
		}
	}
	// A device that was taken out of the registry has a good certificate still.
	h := gone.connect(t)
	w.remove("hub2")
	h.client.Publish(protocol.Topic(tenant, "hub2", protocol.UpEvent), 1, false, mustMarshal(t, batch(1, 1, event(t, protocol.EventBoot, nil))))
	if err := <-h.lost; err == nil {
		t.Error("still connected")
	}
	tok := mqtt.NewClient(gone.options("hub2")).Connect()
	if !tok.WaitTimeout(10*time.Second) || tok.Error() == nil || !strings.Contains(strings.ToLower(tok.Error().Error()), "not authorized") {
		t.Errorf("a device in no registry: %v", tok.Error())
	}
}

func mustMarshal(t *testing.T, m any) []byte {
	t.Helper()
	b, err := protocol.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABusyPortAndADamagedAuthorityAreNamed(t *testing.T) {
	w := newWorld(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	opts := gateway.Options{
		DB: w.db, Dir: filepath.Join(t.TempDir(), "gw"), Devices: fleet.Presence{}, Timeline: w.log, Telemetry: telemetry.Keeper{},
		Presence: fleet.Presence{Log: w.log.Append}, Tenants: func(context.Context) ([]string, error) { return nil, nil },
		Listen: busy.Addr().String(), EnrolAt: "127.0.0.1:0",
	}
	gw, err := gateway.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := gw.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "listen for devices (MQTT)") || !strings.Contains(err.Error(), busy.Addr().String()) {
		t.Errorf("busy port: %v", err)
	}
	if info, err := os.Stat(filepath.Join(opts.Dir, "ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v %v", info, err)
	}
	if err := os.Remove(filepath.Join(opts.Dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.New(opts); err == nil || !strings.Contains(err.Error(), "ca.pem") {
		t.Errorf("half an authority: %v", err)
	}
	if _, err := gateway.New(gateway.Options{}); err == nil || !strings.Contains(err.Error(), "required") {
		t.Errorf("no options: %v", err)
	}
}

func TestACertificateIsOnlySignedForAGoodRequest(t *testing.T) {
	authority, err := ca.Open(ca.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	_, csr := newKey(t)
	block, _ := pem.Decode([]byte(csr))
	block.Bytes[len(block.Bytes)-1] ^= 1
	forged := string(pem.EncodeToMemory(block))
	for name, bad := range map[string]string{"empty": "", "no PEM": "x", "two": csr + csr, "forged": forged} {
		if _, err := authority.Issue(bad, ca.Identity{Tenant: "acme", Device: "hub1"}); !errors.Is(err, ca.ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := authority.Issue(csr, ca.Identity{Tenant: "acme", Device: strings.Repeat("x", 62)}); !errors.Is(err, protocol.ErrInvalid) {
		t.Errorf("a name that is too long: %v", err)
	}
	chain, err := authority.Issue(csr, ca.Identity{Tenant: "acme", Device: "hub_1"})
	if err != nil {
		t.Fatal(err)
	}
	block, _ = pem.Decode([]byte(chain))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := authority.Verify(cert); err != nil || id != (ca.Identity{Tenant: "acme", Device: "hub_1"}) || cert.Subject.CommonName != "acme/hub_1" {
		t.Errorf("verified as %v, %v (%s)", id, err, cert.Subject)
	}
}
