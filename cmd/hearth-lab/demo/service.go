package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cmd/hearth-lab/home"
)

// service is the cloud: the program hearth-cloud with its data below dir.
type service struct {
	process
	dir                                     string
	httpPort, mqttPort, enrolPort, turnPort int
}

// newService finds free ports and writes the configuration. The addresses that devices use are those of
// the namespaced home, which carries them to listen.
func newService(dir, bin string) (*service, error) {
	s := &service{dir: filepath.Join(dir, "cloud")}
	for _, p := range []struct {
		port      *int
		preferred int
	}{{&s.httpPort, 8080}, {&s.mqttPort, 8883}, {&s.enrolPort, 8884}, {&s.turnPort, 3478}} {
		var err error
		if *p.port, err = freePort(p.preferred); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(s.dir, "plans"), 0o700); err != nil {
		return nil, fmt.Errorf("cloud: %w", err)
	}
	s.process = process{
		name: "hearth-cloud", log: filepath.Join(dir, "cloud.log"),
		argv: []string{filepath.Join(bin, "hearth-cloud"), "serve", "--config", filepath.Join(dir, "cloud.json")},
	}
	return s, nil
}

// configure writes the configuration for a home that reaches the cloud at listen ("" without a home).
func (s *service) configure(file, listen string) error {
	inHome := home.CloudAddr
	if listen == "" {
		listen, inHome = "127.0.0.1", "127.0.0.1"
	}
	at := func(host string, port int) string { return net.JoinHostPort(host, fmt.Sprint(port)) }
	b, err := json.MarshalIndent(map[string]any{
		"data":                s.dir,
		"first_password_file": s.passwordFile(),
		"tenant":              map[string]any{"id": tenant, "name": "Hearth Demo", "phone_region": "US"},
		"http":                map[string]any{"listen": at("127.0.0.1", s.httpPort)},
		"devices": map[string]any{
			"mqtt": at("", s.mqttPort), "enrol": at("", s.enrolPort),
			"hosts": []string{home.CloudName, home.CloudAddr, "localhost", "127.0.0.1"},
		},
		"turn": map[string]any{
			"listen": at("0.0.0.0", s.turnPort), "public": listen, "device_host": inHome,
			"allow_peers": []string{listen + "/32"},
		},
		"outbreak": map[string]any{"step": batchStep.String(), "every": batchStep.String(), "apart": "1ms", "learn": batchSteps},
	}, "", "  ")
	if err != nil {
		return fmt.Errorf("cloud: %w", err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("cloud: %w", err)
	}
	return nil
}

func (s *service) url() string          { return fmt.Sprintf("http://127.0.0.1:%d", s.httpPort) }
func (s *service) passwordFile() string { return filepath.Join(s.dir, "first-password") }
func (s *service) caFile() string       { return filepath.Join(s.dir, "gateway", "ca.pem") }

// password is the one that the service made for its first admin.
func (s *service) password() (string, error) {
	b, err := os.ReadFile(s.passwordFile())
	if err != nil {
		return "", fmt.Errorf("cloud: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// start returns when the service answers that it is well.
func (s *service) start(ctx context.Context) error {
	if err := s.process.start(); err != nil {
		return err
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		resp, err := http.Get(s.url() + "/healthz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.ended():
			return fmt.Errorf("hearth-cloud ended: %s", s.lastWords())
		case <-ctx.Done():
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("hearth-cloud is not well after 20 s: %s", s.lastWords()), err)
		}
	}
}
