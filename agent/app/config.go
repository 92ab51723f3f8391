package app

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is the agent's configuration file: one "key = value" a line, # begins a comment, the value is the
// rest of the line. An unknown or repeated key and a missing one that is needed are errors that name it.
type Config struct {
	DataDir string // data_dir: keys, certificate and outbox. Required

	EnrolURL      string // enrol_url: https://host:port of the cloud's enrolment. Required until enrolled, and for renewal
	EnrolToken    string // enrol_token: one-time; or
	EnrolFile     string // enrol_token_file: a file that holds it
	EnrolCAFile   string // enrol_ca_file: PEM of the CA that the cloud's certificate must come from; or
	EnrolCASHA256 string // enrol_ca_sha256: its fingerprint, hex; neither: the system's roots

	Driver   string            // driver: "linux", the default and the only one
	Settings map[string]string // linux.*: passed to the driver without the prefix

	Interval  time.Duration // interval: between samples (10s)
	Fast      time.Duration // fast_interval: while risk is high (1s)
	Calm      time.Duration // calm_interval: after half an hour without a symptom (as interval)
	Batch     time.Duration // batch: age at which telemetry is sent (5m)
	Hot       time.Duration // hot_batch: the same while something is wrong (2s)
	Spread    time.Duration // reconnect_spread: connecting begins at a random moment within this, after a start too, but not after enrolment (40s)
	KeepAlive time.Duration // keep_alive: a dead network is noticed within this plus 10s (30s)
	MaxBytes  int64         // outbox_max_bytes: quota on disk (67108864)
	MaxMemory int64         // outbox_max_memory: of telemetry, bytes (1048576)

	ModelFile    string   // risk_model_file: the hub's own model to begin with
	BaselineFile string   // risk_baseline_file: what it should know of this device at first
	Assist       []string // assist_command: hearth-assist with its arguments; none: no remote sessions
	LogLevel     slog.Level
}

// ReadConfig reads the file. Errors name file, line and key.
func ReadConfig(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	c := &Config{Driver: "linux", Settings: map[string]string{}}
	seen := map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: line %d: %q is not \"key = value\"", path, n, text)
		case seen[key]:
			return nil, fmt.Errorf("%s: line %d: key %q is given twice", path, n, key)
		}
		seen[key] = true
		if err := c.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.DataDir == "" {
		return nil, fmt.Errorf("%s: key %q is missing", path, "data_dir")
	}
	for key := range seen {
		if driver, _, ok := strings.Cut(key, "."); ok && driver != c.Driver {
			return nil, fmt.Errorf("%s: key %q belongs to driver %s, but driver is %s", path, key, driver, c.Driver)
		}
	}
	return c, nil
}

var errNeedsValue = errors.New("needs a value")

func (c *Config) set(key, value string) error {
	if driver, name, ok := strings.Cut(key, "."); ok && slices.Contains(drivers, driver) {
		c.Settings[name] = value
		return nil
	}
	texts := map[string]*string{
		"data_dir": &c.DataDir, "enrol_url": &c.EnrolURL, "enrol_token": &c.EnrolToken, "enrol_token_file": &c.EnrolFile,
		"enrol_ca_file": &c.EnrolCAFile, "enrol_ca_sha256": &c.EnrolCASHA256, "driver": &c.Driver,
		"risk_model_file": &c.ModelFile, "risk_baseline_file": &c.BaselineFile,
	}
	times := map[string]*time.Duration{
		"interval": &c.Interval, "fast_interval": &c.Fast, "calm_interval": &c.Calm, "batch": &c.Batch, "hot_batch": &c.Hot,
		"reconnect_spread": &c.Spread, "keep_alive": &c.KeepAlive,
	}
	sizes := map[string]*int64{"outbox_max_bytes": &c.MaxBytes, "outbox_max_memory": &c.MaxMemory}
	if value == "" {
		return fmt.Errorf("key %q %w", key, errNeedsValue)
	}
	var err error
	switch {
	case texts[key] != nil:
		*texts[key] = value
		if key == "driver" && !slices.Contains(drivers, value) {
			err = fmt.Errorf("no driver %q, want one of %s", value, strings.Join(drivers, ", "))
		}
	case times[key] != nil:
		if *times[key], err = time.ParseDuration(value); err == nil && *times[key] <= 0 {
			err = errors.New("want more than zero")
		}
	case sizes[key] != nil:
		if *sizes[key], err = strconv.ParseInt(value, 10, 64); err == nil && *sizes[key] <= 0 {
			err = errors.New("want more than zero")
		}
	case key == "assist_command":
		c.Assist = strings.Fields(value)
	case key == "log_level":
		err = c.LogLevel.UnmarshalText([]byte(value))
	default:
		return fmt.Errorf("unknown key %q", key)
	}
	if err != nil {
		return fmt.Errorf("key %q: %w", key, err)
	}
	return nil
}
