package ca_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/ca"
)

func TestTheServicesOwnCertificateIsGoodForNowWhateverTheClockWasAtTheStart(t *testing.T) {
	right := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	now := right
	c, err := ca.Open(ca.Options{Dir: t.TempDir(), Clock: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range []struct {
		name string
		of   *ca.Own
		use  x509.ExtKeyUsage
	}{{"server", c.Server("127.0.0.1"), x509.ExtKeyUsageServerAuth}, {"client", c.Client("hearth-cloud"), x509.ExtKeyUsageClientAuth}} {
		for _, at := range []struct {
			clock time.Time
			fresh bool
		}{
			{right.AddDate(10, 0, 0), true}, // the clock at the start
			{right, true},
			{right.Add(-30 * time.Minute), false},
			{right.AddDate(0, 6, 0), false},
			{right.AddDate(1, 0, 1), true},
		} {
			before, _ := own.of.Get()
			now = at.clock
			got, err := own.of.Get()
			if err != nil {
				t.Fatal(err)
			}
			if fresh := got != before; fresh != at.fresh {
				t.Errorf("%s at %s: made anew %t, want %t", own.name, now, fresh, at.fresh)
			}
			if _, err := got.Leaf.Verify(x509.VerifyOptions{Roots: c.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{own.use}}); err != nil {
				t.Errorf("%s at %s: %v", own.name, now, err)
			}
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
	f.Add("-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		csr, err := ca.ParseRequest(text)
		if err != nil && !errors.Is(err, ca.ErrRequest) || err == nil && csr == nil {
			t.Errorf("%v, %v", csr, err)
		}
	})
}
