package agenttest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Broker is a real MQTT broker on loopback: Devices speaks mutual TLS, Plain is for the cloud's side.
type Broker struct {
	Devices string // host:port
	Plain   string
}

// Brokers are the real brokers that every test of delivery runs against.
var Brokers = map[string]func(testing.TB, *CA) *Broker{"mochi": Mochi, "mosquitto": Mosquitto}

// Mochi starts an embedded broker for the test.
func Mochi(t testing.TB, ca *CA) *Broker {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := s.AddHook(new(allow), nil); err != nil {
		t.Fatal(err)
	}
	server := ca.Issue(t, "localhost", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	config := &tls.Config{Certificates: []tls.Certificate{server}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool()}
	b := &Broker{Devices: freeAddress(t), Plain: freeAddress(t)}
	for _, l := range []listeners.Listener{
		listeners.NewTCP(listeners.Config{ID: "devices", Address: b.Devices, TLSConfig: config}),
		listeners.NewTCP(listeners.Config{ID: "plain", Address: b.Plain}),
	} {
		if err := s.AddListener(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return b
}

// allow lets everyone do everything: what may be done is not what these tests are about.
type allow struct{ mochi.HookBase }

func (*allow) ID() string { return "allow" }

func (*allow) Provides(b byte) bool { return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck }

func (*allow) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (*allow) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// Mosquitto starts a mosquitto for the test. It must be installed.
func Mosquitto(t testing.TB, ca *CA) *Broker {
	t.Helper()
	dir := t.TempDir()
	server := ca.Issue(t, "localhost", time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{Devices: freeAddress(t), Plain: freeAddress(t)}
	_, devices, _ := net.SplitHostPort(b.Devices)
	_, plain, _ := net.SplitHostPort(b.Plain)
	for name, content := range map[string]string{
		"ca.pem":     ca.PEM(),
		"server.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate[0]})),
		"server.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"mosquitto.conf": fmt.Sprintf(`allow_anonymous true
listener %s 127.0.0.1
cafile %[3]s/ca.pem
certfile %[3]s/server.pem
keyfile %[3]s/server.key
require_certificate true
listener %[2]s 127.0.0.1
`, devices, plain, dir),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	cmd := exec.Command(program, "-c", filepath.Join(dir, "mosquitto.conf"))
	if os.Getuid() == 0 {
		// mosquitto drops root for its own user, who must be able to read its files.
		for d := dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
			if err := os.Chmod(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("mosquitto must be installed for this test: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 500 {
		c, err := net.Dial("tcp", b.Plain)
		if err == nil {
			_ = c.Close()
			return b
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("mosquitto does not answer")
	return nil
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
