// Package ca is the certificate authority of the devices' door: it says who a device is.
//
// It lives in a folder of two files: ca.pem, which devices are given to trust the door, and ca.key, mode
// 0600, which never leaves the folder. A device's certificate names it three times:
//
//	CN  tenant/device            what any MQTT broker can bind a topic subtree to (%u, ${cert_common_name})
//	O   tenant                   for people who read certificates
//	URI hearthline://tenant/device   what this package reads back
//
// Keys are ECDSA P-256: a handshake with one costs a third of a millisecond and every hub's TLS has it.
package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/keyfile"
	"github.com/hearthline/hearthline/protocol"
)

// Lifetimes. A device renews when a third is left; the service's own are made anew before they end.
const (
	lifeCA     = 20 * 365 * 24 * time.Hour
	lifeServer = 365 * 24 * time.Hour
	LifeDevice = 90 * 24 * time.Hour // default of Options.DeviceLife
	// backdate lets a device whose clock is a little behind use what it was just given.
	backdate = time.Hour
)

// maxCommonName is ub-common-name of RFC 5280: OpenSSL, and so most brokers, refuse a longer one.
const maxCommonName = 64

var (
	// ErrExpired is returned for a certificate outside its validity.
	ErrExpired = errors.New("certificate is expired or not yet valid")
	// ErrForeign is returned for a certificate that this authority did not sign, or that names no device.
	ErrForeign = errors.New("certificate is not one of ours")
	// ErrRequest is returned for a certificate request that cannot be signed.
	ErrRequest = errors.New("certificate request refused")
)

// Identity is who a device is.
type Identity struct{ Tenant, Device string }

// String returns "tenant/device".
func (id Identity) String() string { return id.Tenant + "/" + id.Device }

// Options configures a CA. Dir is required.
type Options struct {
	Dir        string           // folder of ca.pem and ca.key, created when missing
	DeviceLife time.Duration    // how long a device's certificate is valid; 0 means LifeDevice
	Clock      func() time.Time // nil means time.Now
}

// CA signs certificates of devices and of this service. It is safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	pem  []byte
	key  crypto.Signer
	pool *x509.CertPool
	life time.Duration
	now  func() time.Time
}

// Open reads the authority from its folder, or makes a new one there when neither file exists. One file
// without the other is an error: a new authority would lock every enrolled device out.
func Open(opts Options) (*CA, error) {
	c := &CA{life: opts.DeviceLife, now: opts.Clock}
	if c.life == 0 {
		c.life = LifeDevice
	}
	if c.now == nil {
		c.now = time.Now
	}
	certFile, keyFile := filepath.Join(opts.Dir, "ca.pem"), filepath.Join(opts.Dir, "ca.key")
	certPEM, certErr := os.ReadFile(certFile)
	keyPEM, keyErr := os.ReadFile(keyFile)
	switch {
	case errors.Is(certErr, fs.ErrNotExist) && errors.Is(keyErr, fs.ErrNotExist):
		var err error
		if certPEM, keyPEM, err = c.create(certFile, keyFile); err != nil {
			return nil, fmt.Errorf("create certificate authority in %s: %w", opts.Dir, err)
		}
	case certErr != nil || keyErr != nil:
		return nil, fmt.Errorf("open certificate authority in %s: %w", opts.Dir, errors.Join(certErr, keyErr))
	}
	if err := c.load(certPEM, keyPEM); err != nil {
		return nil, fmt.Errorf("open certificate authority in %s: %w", opts.Dir, err)
	}
	return c, nil
}

func (c *CA) create(certFile, keyFile string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := c.now()
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: "Hearthline devices"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(lifeCA),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	// The key first: a crash in between leaves a key without a certificate, which Open names.
	if err := keyfile.Create(keyFile, keyPEM, 0o600); err != nil {
		return nil, nil, err
	}
	return certPEM, keyPEM, keyfile.Create(certFile, certPEM, 0o644)
}

func (c *CA) load(certPEM, keyPEM []byte) error {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok || !cert.IsCA {
		return errors.New("ca.pem and ca.key are not those of an authority")
	}
	c.cert, c.key, c.pem = cert, key, certPEM
	c.pool = x509.NewCertPool()
	c.pool.AddCert(cert)
	return nil
}

// PEM is the authority's certificate.
func (c *CA) PEM() []byte { return bytes.Clone(c.pem) }

// Pool holds the authority's certificate.
func (c *CA) Pool() *x509.CertPool { return c.pool }

// Issue signs the key of a request (PEM) for a device. Whatever names the request asks for are ignored:
// who the device is was decided by whoever checked its token or its present certificate. The result is a
// PEM chain, leaf first. Errors wrap ErrRequest when the request is at fault.
func (c *CA) Issue(csrPEM string, id Identity) (string, error) {
	csr, err := ParseRequest(csrPEM)
	if err != nil {
		return "", err
	}
	if err := errors.Join(protocol.CheckID("tenant", id.Tenant), protocol.CheckID("device", id.Device)); err != nil {
		return "", err
	}
	if n := len(id.String()); n > maxCommonName {
		return "", fmt.Errorf("%w: tenant and device are %d bytes with the slash, a common name holds %d", protocol.ErrInvalid, n, maxCommonName)
	}
	now := c.now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: id.String(), Organization: []string{id.Tenant}},
		URIs:         []*url.URL{{Scheme: "hearthline", Host: id.Tenant, Path: "/" + id.Device}},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(c.life),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, c.cert, csr.PublicKey, c.key)
	if err != nil {
		return "", fmt.Errorf("sign certificate of %s: %w", id, err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), nil
}

// ParseRequest reads a certificate request (PEM). The error wraps ErrRequest for one that Issue would refuse.
func ParseRequest(csrPEM string) (*x509.CertificateRequest, error) {
	block, rest := pem.Decode([]byte(csrPEM))
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%w: csr is not one PEM block of a certificate request", ErrRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: it does not prove that its key is held: %w", ErrRequest, err)
	}
	if k, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || k.Curve != elliptic.P256() {
		return nil, fmt.Errorf("%w: want a key of ECDSA P-256", ErrRequest)
	}
	return csr, nil
}

// ServerCertificate makes a fresh certificate for this service under the names and addresses given.
func (c *CA) ServerCertificate(hosts ...string) (tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "Hearthline"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return c.own(template)
}

// ClientCertificate makes a certificate under which this service shows itself to an external broker. A name
// with a slash is refused: those are devices.
func (c *CA) ClientCertificate(name string) (tls.Certificate, error) {
	if err := protocol.CheckID("name", name); err != nil {
		return tls.Certificate{}, err
	}
	return c.own(&x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// own signs a template for a fresh key of this service.
func (c *CA) own(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := c.now()
	template.SerialNumber = serial()
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(lifeServer)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, c.cert, key.Public(), c.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("sign certificate of this service: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, c.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// Verify checks a device's certificate and returns who it names. Errors wrap ErrExpired or ErrForeign.
func (c *CA) Verify(cert *x509.Certificate) (Identity, error) {
	_, err := cert.Verify(x509.VerifyOptions{
		Roots:       c.pool,
		CurrentTime: c.now(),
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return Identity{}, fmt.Errorf("%w: valid from %s to %s", ErrExpired, cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339))
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	return Named(cert)
}

// Named returns who a certificate names. It does not check who signed it.
func Named(cert *x509.Certificate) (Identity, error) {
	for _, u := range cert.URIs {
		if u.Scheme != "hearthline" {
			continue
		}
		id := Identity{Tenant: u.Host, Device: strings.TrimPrefix(u.Path, "/")}
		if protocol.CheckID("tenant", id.Tenant) == nil && protocol.CheckID("device", id.Device) == nil {
			return id, nil
		}
	}
	return Identity{}, fmt.Errorf("%w: it names no device", ErrForeign)
}

func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // rand.Reader does not fail
	return n.Add(n, big.NewInt(1))
}
