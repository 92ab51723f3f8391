package ca

import (
	"crypto/tls"
	"sync"
	"time"
)

// Own is a certificate of this service itself that is always good for now: it is made anew before it ends,
// and when the clock turns out to be before it begins, as it does when it is set right after a start at a
// wrong time. It is safe for concurrent use.
type Own struct {
	create func() (tls.Certificate, error)
	now    func() time.Time

	mu   sync.Mutex
	cert *tls.Certificate
}

// Server is a certificate for this service under the names and addresses given.
func (c *CA) Server(hosts ...string) *Own {
	return &Own{now: c.now, create: func() (tls.Certificate, error) { return c.ServerCertificate(hosts...) }}
}

// Client is one under which this service shows itself to an external broker; see ClientCertificate.
func (c *CA) Client(name string) *Own {
	return &Own{now: c.now, create: func() (tls.Certificate, error) { return c.ClientCertificate(name) }}
}

// Get returns the present certificate.
func (o *Own) Get() (*tls.Certificate, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cert != nil {
		leaf, now := o.cert.Leaf, o.now()
		if !now.Before(leaf.NotBefore) && now.Before(leaf.NotAfter.Add(-lifeServer/3)) {
			return o.cert, nil
		}
	}
	cert, err := o.create()
	if err != nil {
		return nil, err
	}
	o.cert = &cert
	return o.cert, nil
}

// OfServer is Get as tls.Config.GetCertificate.
func (o *Own) OfServer(*tls.ClientHelloInfo) (*tls.Certificate, error) { return o.Get() }

// OfClient is Get as tls.Config.GetClientCertificate.
func (o *Own) OfClient(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.Get() }
