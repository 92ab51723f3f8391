package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/hearthline/hearthline/cloud/predict"
	"github.com/hearthline/hearthline/cmd/hearth-lab/home"
)

// hub is the device of the story and the home it stands in.
type hub interface {
	start() error
	kill() error // as a power cut would
	stop() error // in good order
	fault(f home.Fault, on bool) error
}

// realHub is the real agent in the hub of the namespaced home.
type realHub struct {
	home *home.Home
	argv []string
	log  string

	mu      sync.Mutex
	process *home.Process
}

// newRealHub writes the agent's configuration: every second a sample, sent two seconds later at most, so that
// a person need not wait five minutes for a chart; and the risk model fitted on recorded homes with the
// baseline of one, since a demo has no week to learn what is normal.
func newRealHub(h *home.Home, dir, bin, token string, s *service) (*realHub, error) {
	config := filepath.Join(dir, "agent.conf")
	model, baseline := predict.NamespacedHome()
	files := map[string][]byte{filepath.Join(dir, "risk-model"): model, filepath.Join(dir, "risk-baseline"): baseline}
	for file, content := range files {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return nil, fmt.Errorf("hub: %w", err)
		}
	}
	lines := []string{
		"data_dir = " + filepath.Join(dir, "agent"),
		fmt.Sprintf("enrol_url = https://%s:%d", home.CloudName, s.enrolPort),
		"enrol_token = " + token,
		"enrol_ca_file = " + s.caFile(),
		"interval = 1s", "fast_interval = 1s", "calm_interval = 1s", "batch = 2s", "hot_batch = 1s",
		"reconnect_spread = 1s", "keep_alive = 10s",
		"risk_model_file = " + filepath.Join(dir, "risk-model"), "risk_baseline_file = " + filepath.Join(dir, "risk-baseline"),
		"assist_command = " + filepath.Join(bin, "hearth-assist") + " --config " + config,
		"linux.model = " + mainResident.model, "linux.firmware = " + mainResident.firmware,
		fmt.Sprintf("linux.cloud = %s:%d", home.CloudName, s.mqttPort),
		"linux.probe = " + home.ProbeAddr, "linux.probe_name = " + home.CloudName, "linux.resolvers = " + home.AltResolver,
		"linux.web_url = http://" + home.WebName + "/generate_204", "linux.speed_url = http://" + home.WebName + "/bytes?n=20000000",
	}
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	return &realHub{home: h, argv: []string{filepath.Join(bin, "hearth-agent"), "--config", config}, log: filepath.Join(dir, "agent.log")}, nil
}

func (h *realHub) start() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	log, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer log.Close()
	h.process, err = h.home.Start(home.Command{Host: "hub", Argv: h.argv, Stdout: log, Stderr: log})
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	return nil
}

func (h *realHub) kill() error { return h.end(syscall.SIGKILL) }

func (h *realHub) stop() error { return h.end(syscall.SIGTERM) }

func (h *realHub) end(with syscall.Signal) error {
	h.mu.Lock()
	p := h.process
	h.process = nil
	h.mu.Unlock()
	if p == nil {
		return nil
	}
	if err := p.Signal(with); err != nil {
		return fmt.Errorf("end agent: %w", err)
	}
	<-p.Done()
	return nil
}

func (h *realHub) fault(f home.Fault, on bool) error {
	if err := h.home.Fault(f, on); err != nil {
		return fmt.Errorf("fault %s: %w", f, err)
	}
	return nil
}
