// Package agenttest gives tests of the agent what surrounds it in life: a certificate authority, real
// brokers, a cloud that commits and acknowledges, and a network that can be broken on purpose.
package agenttest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

// CA signs certificates for tests and holds the two keys that a command needs.
type CA struct {
	Cert       *x509.Certificate
	key        *ecdsa.PrivateKey
	CommandKey ed25519.PrivateKey
	PlanKey    ed25519.PrivateKey
}

// NewCA makes a CA that is valid for a day around now.
func NewCA(t testing.TB) *CA {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-12 * time.Hour), NotAfter: time.Now().Add(12 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	_, command, err1 := ed25519.GenerateKey(rand.Reader)
	_, plan, err2 := ed25519.GenerateKey(rand.Reader)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return &CA{Cert: cert, key: key, CommandKey: command, PlanKey: plan}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Issue signs a certificate with this common name, valid from and until; for a server also for loopback.
func (ca *CA) Issue(t testing.TB, name string, from, until time.Time) tls.Certificate {
	t.Helper()
	key := newKey(t)
	return ca.sign(t, name, from, until, &key.PublicKey, key)
}

func (ca *CA) sign(t testing.TB, name string, from, until time.Time, public any, key *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<60))
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, ca.Cert, public, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	cert := tls.Certificate{Certificate: [][]byte{der, ca.Cert.Raw}, Leaf: leaf}
	if key != nil {
		cert.PrivateKey = key
	}
	return cert
}

// Sign answers a certificate request in PEM with a chain in PEM, leaf first.
func (ca *CA) Sign(t testing.TB, csr, name string, from, until time.Time) string {
	t.Helper()
	block, _ := pem.Decode([]byte(csr))
	if block == nil {
		t.Fatal("no PEM in the request")
	}
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || req.CheckSignature() != nil {
		t.Fatalf("certificate request: %v", err)
	}
	cert := ca.sign(t, name, from, until, req.PublicKey, nil)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})) + ca.PEM()
}

// PEM is the CA's certificate.
func (ca *CA) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw}))
}

// Pool trusts the CA.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	return pool
}

// Identity enrols a device of tenant "acme" without asking anyone.
func (ca *CA) Identity(t testing.TB, device, broker string) *agent.Identity {
	t.Helper()
	return &agent.Identity{
		Tenant: "acme", Device: device, Broker: broker, Roots: ca.Pool(),
		Certificate: ca.Issue(t, device, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)),
		CommandKeys: []ed25519.PublicKey{ca.CommandKey.Public().(ed25519.PublicKey)},
		PlanKeys:    []ed25519.PublicKey{ca.PlanKey.Public().(ed25519.PublicKey)},
	}
}

// Command signs a command under a plan, with both keys.
func (ca *CA) Command(t testing.TB, c protocol.Command, p protocol.Plan) []byte {
	t.Helper()
	plan, err := protocol.Marshal(&p)
	if err != nil {
		t.Fatal(err)
	}
	if c.Plan, err = protocol.Sign(protocol.PurposePlan, plan, ca.PlanKey); err != nil {
		t.Fatal(err)
	}
	body, err := protocol.Marshal(&c)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := protocol.Sign(protocol.PurposeCommand, body, ca.CommandKey)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// Time is the cloud's answer to a device's question what time it is.
func (ca *CA) Time(t testing.TB, device string, nonce []byte, now time.Time) []byte {
	t.Helper()
	body, err := protocol.Marshal(&protocol.Time{Version: protocol.Version, Tenant: "acme", Device: device, Nonce: nonce, Now: now.UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := protocol.Sign(protocol.PurposeTime, body, ca.CommandKey)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
