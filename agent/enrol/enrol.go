// Package enrol makes the device known to the cloud: a key that is made here and never leaves, a one-time
// token, and a certificate in return; later the next certificate for the present one.
package enrol

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/protocol"
)

var (
	// ErrNone is returned by Load when the device is not enrolled yet.
	ErrNone = errors.New("device is not enrolled")
	// ErrRefused is wrapped by errors that carry the cloud's own words: a token used twice, an expired
	// certificate. Trying again with the same will not help.
	ErrRefused = errors.New("the cloud refused")
)

// Files in the data folder.
const (
	fileIdentity = "identity.json" // protocol.Enrolled and the key that belongs to it, in one file so that they change together
	filePending  = "pending.key"   // the key of an enrolment or renewal whose answer has not come yet
)

// stored is the content of fileIdentity.
type stored struct {
	protocol.Enrolled
	Key string `json:"key"` // PEM
}

// Options configures enrolment. Dir and URL are required; Token is for the first time only.
type Options struct {
	Dir      string        // data folder
	URL      string        // https://host:port of the cloud's enrolment
	Token    string        // one-time
	CA       []byte        // PEM of the CA that the cloud's certificate must come from
	CASHA256 string        // or its fingerprint, hex; the cloud must send the CA in its chain. Neither: the system's roots
	Built    time.Time     // the device's clock cannot be before this; zero: no floor
	Timeout  time.Duration // of one request; 0 means 30s
}

// Load reads the identity from the data folder. It returns ErrNone before the first enrolment.
func Load(dir string) (*agent.Identity, error) {
	b, err := os.ReadFile(filepath.Join(dir, fileIdentity))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", fileIdentity, err)
	}
	return identity(&s)
}

func identity(s *stored) (*agent.Identity, error) {
	if err := errors.Join(protocol.CheckID("tenant", s.Tenant), protocol.CheckID("device", s.Device)); err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair([]byte(s.Certificate), []byte(s.Key))
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(s.CA)) {
		return nil, errors.New("ca: no certificate in it")
	}
	if s.Broker == "" {
		return nil, errors.New("broker: no address")
	}
	id := &agent.Identity{Tenant: s.Tenant, Device: s.Device, Broker: s.Broker, Certificate: cert, Roots: roots}
	for _, k := range []struct {
		field string
		from  [][]byte
		to    *[]ed25519Key
	}{{"command_keys", s.CommandKeys, &id.CommandKeys}, {"plan_keys", s.PlanKeys, &id.PlanKeys}} {
		for _, key := range k.from {
			if len(key) != ed25519Size {
				return nil, fmt.Errorf("%s: a key of %d bytes, want %d", k.field, len(key), ed25519Size)
			}
			*k.to = append(*k.to, key)
		}
	}
	return id, nil
}

// First enrols with the one-time token. The key is on disk before the token is sent, so that a lost answer
// can be asked for again with the same key.
func First(ctx context.Context, opts Options) (*agent.Identity, error) {
	if opts.URL == "" || opts.Token == "" {
		return nil, errors.New("enrol: URL and Token are required")
	}
	config, err := opts.pinned()
	if err != nil {
		return nil, err
	}
	key, csr, err := Request(opts.Dir)
	if err != nil {
		return nil, err
	}
	return opts.exchange(ctx, config, "/v1/enrol", protocol.Enrol{Token: opts.Token, CSR: csr}, key)
}

// Renew trades the present certificate for the next one.
func Renew(ctx context.Context, opts Options, present *agent.Identity) (*agent.Identity, error) {
	key, csr, err := Request(opts.Dir)
	if err != nil {
		return nil, err
	}
	return opts.exchange(ctx, present.TLS(), "/v1/renew", protocol.Renewal{CSR: csr}, key)
}

// Request returns the pending key of the data folder, made if there is none, and a certificate request for
// it, both PEM.
func Request(dir string) (keyPEM, csrPEM string, err error) {
	path := filepath.Join(dir, filePending)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if b, err = newKey(); err == nil {
			err = agent.WriteFile(path, b)
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("device key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return "", "", fmt.Errorf("device key %s: no PEM in it", path)
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return "", "", fmt.Errorf("device key %s: %w", path, err)
	}
	// The cloud decides the name; the token says who the device is.
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "hearth-agent"}}, key)
	if err != nil {
		return "", "", err
	}
	return string(b), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// exchange posts the request and stores the answer with its key.
func (o *Options) exchange(ctx context.Context, config *tls.Config, path string, request any, key string) (*agent.Identity, error) {
	timeout := o.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(o.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if req.URL.Scheme != "https" {
		return nil, fmt.Errorf("enrol: %s is not https", o.URL)
	}
	req.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: config, Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true}
	answer, err := transport.RoundTrip(req) // no redirects: a captive portal must not receive the token
	if err != nil {
		return nil, fmt.Errorf("enrol at %s: %w", o.URL, err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return nil, fmt.Errorf("enrol at %s: %w", o.URL, err)
	}
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusCreated {
		return nil, refused(answer.StatusCode, b)
	}
	var e protocol.Enrolled
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("enrol at %s: answer: %w", o.URL, err)
	}
	id, err := Adopt(o.Dir, e, key)
	if err != nil {
		return nil, fmt.Errorf("enrol at %s: answer: %w", o.URL, err)
	}
	return id, nil
}

// Adopt checks what the cloud answered to the request with this key, and keeps both in the data folder.
func Adopt(dir string, e protocol.Enrolled, keyPEM string) (*agent.Identity, error) {
	s := &stored{Enrolled: e, Key: keyPEM}
	id, err := identity(s)
	if err != nil {
		return nil, err
	}
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := agent.WriteFile(filepath.Join(dir, fileIdentity), content); err != nil {
		return nil, err
	}
	if err := os.Remove(filepath.Join(dir, filePending)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return id, nil
}

// refused tells what the cloud said. Only a client error is final.
func refused(status int, body []byte) error {
	var problem struct{ Title, Detail string }
	_ = json.Unmarshal(body, &problem)
	said := problem.Detail
	if said == "" {
		said = problem.Title
	}
	if said == "" {
		said = http.StatusText(status)
	}
	if status >= 400 && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
		return fmt.Errorf("%w: %d: %s", ErrRefused, status, said)
	}
	return fmt.Errorf("enrol: %d: %s", status, said)
}

// pinned trusts the cloud by its CA, before there is an identity.
func (o *Options) pinned() (*tls.Config, error) {
	now := func() time.Time {
		if t := time.Now(); t.After(o.Built) {
			return t
		}
		return o.Built
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Time: now}
	if len(o.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("enrol: CA holds no certificate")
		}
		return config, nil
	}
	if o.CASHA256 == "" {
		return config, nil
	}
	want, err := hex.DecodeString(strings.ReplaceAll(o.CASHA256, ":", ""))
	if err != nil || len(want) != sha256.Size {
		return nil, fmt.Errorf("enrol: CASHA256 is not %d bytes in hex", sha256.Size)
	}
	config.InsecureSkipVerify = true // VerifyConnection does it, against the one CA with that fingerprint
	config.VerifyConnection = func(c tls.ConnectionState) error {
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		for _, cert := range c.PeerCertificates[1:] {
			if sum := sha256.Sum256(cert.Raw); bytes.Equal(sum[:], want) {
				roots.AddCert(cert)
			} else {
				between.AddCert(cert)
			}
		}
		_, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: c.ServerName, CurrentTime: now()})
		return err
	}
	return config, nil
}
