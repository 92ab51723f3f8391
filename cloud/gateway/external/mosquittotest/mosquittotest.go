// Package mosquittotest starts real mosquitto brokers on loopback ports, for tests and for the lab: under the
// configuration that is shipped, with only addresses and paths changed. A broker can be killed and started again.
package mosquittotest

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/external"
)

// ready is how long a broker may take until it listens.
const ready = 15 * time.Second

// Broker is a mosquitto that trusts one authority.
type Broker struct {
	Outer string // host:port for devices
	Inner string // host:port for hearth-cloud
	dir   string
	conf  string
	cmd   *exec.Cmd
	said  bytes.Buffer // on standard error, since the last start
}

// New starts a broker whose certificates are the authority's.
func New(authority *ca.CA) (*Broker, error) {
	dir, err := os.MkdirTemp("", "mosquittotest")
	if err != nil {
		return nil, err
	}
	b := &Broker{dir: dir}
	if err := errors.Join(b.configure(authority), b.Start()); err != nil {
		b.Close()
		return nil, fmt.Errorf("mosquitto in %s: %w", dir, err)
	}
	return b, nil
}

func (b *Broker) configure(authority *ca.CA) (err error) {
	for _, addr := range []*string{&b.Outer, &b.Inner} {
		if *addr, err = freePort(); err != nil {
			return err
		}
	}
	b.conf, err = Configure(b.dir, authority, b.Outer, b.Inner)
	return err
}

// Configure writes the shipped configuration into a folder and returns its path, for `mosquitto -c`. The
// addresses, host:port, are where devices connect and where hearth-cloud does.
func Configure(dir string, authority *ca.CA, outer, inner string) (path string, err error) {
	conf, err := external.Mosquitto.ReadFile("mosquitto/mosquitto.conf")
	if err != nil {
		return "", err
	}
	acl, err := external.Mosquitto.ReadFile("mosquitto/acl")
	if err != nil {
		return "", err
	}
	outerHost, outerPort, err := net.SplitHostPort(outer)
	if err != nil {
		return "", err
	}
	innerHost, innerPort, err := net.SplitHostPort(inner)
	if err != nil {
		return "", err
	}
	cert, err := authority.ServerCertificate(outerHost, innerHost)
	if err != nil {
		return "", err
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return "", err
	}
	text := strings.NewReplacer(
		"/etc/hearthline", dir,
		"listener 8883", "listener "+outerPort+" "+outerHost,
		"listener 8885 127.0.0.1", "listener "+innerPort+" "+innerHost,
	).Replace(string(conf))
	if os.Geteuid() == 0 {
		text += "user root\n" // else it gives up the right to read the folder
	}
	path = filepath.Join(dir, "mosquitto.conf")
	for name, content := range map[string][]byte{
		"ca.pem":         authority.PEM(),
		"broker.pem":     pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		"broker.key":     pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"acl":            acl,
		"mosquitto.conf": []byte(text),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", err
		}
	}
	return path, nil
}

// Program is the path of mosquitto.
func Program() string {
	if path, err := exec.LookPath("mosquitto"); err == nil {
		return path
	}
	return "/usr/sbin/mosquitto" // where an ordinary user's PATH does not look
}

// Start starts a broker that was killed, and waits until it listens.
func (b *Broker) Start() error {
	b.said.Reset()
	b.cmd = exec.Command(Program(), "-c", b.conf)
	b.cmd.Stderr = &b.said
	if err := b.cmd.Start(); err != nil {
		return fmt.Errorf("mosquitto (Debian package mosquitto): %w", err)
	}
	for end := time.Now().Add(ready); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", b.Inner); err == nil {
			return c.Close()
		}
	}
	b.Kill() // what it said is whole only then
	return fmt.Errorf("mosquitto does not listen within %s: %s", ready, &b.said)
}

// Kill ends the broker at once. All it knew is gone.
func (b *Broker) Kill() {
	if b.cmd != nil && b.cmd.Process != nil {
		b.cmd.Process.Kill()
		b.cmd.Wait()
	}
}

// Close kills the broker and removes its folder.
func (b *Broker) Close() error {
	b.Kill()
	return os.RemoveAll(b.dir)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
