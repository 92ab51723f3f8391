package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"runtime"
	"runtime/metrics"
	"strconv"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/protocol"
)

// TestASilentDeviceCostsLittle holds the objects and the stacks of a device that is connected over mutual
// TLS to a limit: about 16 kB were seen, more than half of them what crypto/tls keeps (see "hearth-lab idle").
func TestASilentDeviceCostsLittle(t *testing.T) {
	const devices, limit = 200, 20 << 10
	authority, err := ca.Open(ca.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.ServerCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	there := make(arrivals, devices)
	b, err := New(Options{Handler: there, Identify: byClientID, TLS: &tls.Config{
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, l) }()

	before := inUse()
	for i := range devices {
		// Of the client nothing stays but its socket: what is measured is the broker.
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		id := "hub-" + strconv.Itoa(i)
		c := tls.Client(raw, clientTLS(t, authority, id))
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(connect(4, id, 60)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(subscribe(1, protocol.DownFilter("acme", id))); err != nil {
			t.Fatal(err)
		}
		<-there
	}
	if each := (inUse() - before) / devices; each > limit {
		t.Errorf("%d bytes per device, limit %d", each, limit)
	} else {
		t.Logf("%d bytes per device", each)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// inUse is the memory of objects and of stacks once what is garbage has been collected, in bytes. Each
// collection halves stacks that are too large.
func inUse() uint64 {
	for range 3 {
		runtime.GC()
	}
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() + s[1].Value.Uint64()
}

func clientTLS(t *testing.T, authority *ca.CA, id string) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := authority.Issue(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), ca.Identity{Tenant: "acme", Device: id})
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(chain))
	return &tls.Config{
		RootCAs: authority.Pool(), ServerName: "127.0.0.1",
		Certificates: []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}},
	}
}

// arrivals is a Handler that tells of devices that have subscribed.
type arrivals chan struct{}

func (arrivals) Connected(*Session) error                         { return nil }
func (a arrivals) Subscribed(*Session)                            { a <- struct{}{} }
func (arrivals) Disconnected(*Session, bool)                      {}
func (arrivals) Publish(*Session, protocol.Channel, []byte) error { return nil }
