package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearthline/hearthline/cloud/store/bolt"
)

func TestAKeyThatIsUnknownMissingOrWrongIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"no data folder":             {nil, "data is missing"},
		"an unknown flag":            {[]string{"--colour", "red"}, "--colour"},
		"an unknown key":             {[]string{"--config", file("a.yaml", "data: x\nhttp:\n  lissen: y\n")}, "unknown key http.lissen"},
		"an unknown key in JSON":     {[]string{"--config", file("b.json", `{"data":"x","colour":"red"}`)}, "unknown key colour"},
		"a file that is not there":   {[]string{"--config", filepath.Join(dir, "none.yaml")}, "none.yaml"},
		"a file that is malformed":   {[]string{"--config", file("c.yaml", "data: [")}, "c.yaml"},
		"half a key pair":            {[]string{"--data", dir, "--http.key", "k"}, "http.certificate and http.key"},
		"a tenant with a slash":      {[]string{"--data", dir, "--tenant.id", "a/b"}, "tenant.id"},
		"an engine nobody knows":     {[]string{"--data", dir, "--store.engine", "paper"}, "store.engine"},
		"postgres without a url":     {[]string{"--data", dir, "--store.engine", "postgres"}, "store.url is missing"},
		"half a TURN server":         {[]string{"--data", dir, "--turn.public", "1.2.3.4"}, "turn.listen is missing"},
		"a TURN server without home": {[]string{"--data", dir, "--turn.listen", ":3478"}, "turn.public"},
		"a level nobody knows":       {[]string{"--data", dir, "--log", "loud"}, "log is"},
		"a duration that is none":    {[]string{"--config", file("d.yaml", "data: x\noutbreak:\n  step: soon\n")}, "outbreak.step"},
		"a stray argument":           {[]string{"--data", dir, "now"}, `"now"`},
		"a broker nobody can reach":  {[]string{"--data", dir, "--devices.broker", "mosquitto"}, "devices.broker"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readConfig(flags("serve"), c.args)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %s", err, c.want)
			}
		})
	}
}

func TestFlagsWinOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	err := os.WriteFile(path, []byte("data: file\nlog: warn\nhttp:\n  listen: file:1\ndevices:\n  hosts: [a, b]\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("HEARTH_HTTP_LISTEN", "env:1")
	t.Setenv("HEARTH_LOG", "error")
	c, err := readConfig(flags("serve"), []string{"--config", path, "--log", "debug"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "file" || c.HTTP.Listen != "env:1" || c.Log != "debug" || len(c.Devices.Hosts) != 2 {
		t.Errorf("got data %q, http.listen %q, log %q, hosts %v", c.Data, c.HTTP.Listen, c.Log, c.Devices.Hosts)
	}
}

func TestABusyPortIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	busy := l.Addr().String()
	for flag, want := range map[string]string{"http.listen": "HTTP", "devices.mqtt": "MQTT", "devices.enrol": "enrolment"} {
		args := []string{"--data", t.TempDir(), "--log", "error"}
		for _, f := range []string{"http.listen", "devices.mqtt", "devices.enrol"} {
			at := "127.0.0.1:0"
			if f == flag {
				at = busy
			}
			args = append(args, "--"+f, at)
		}
		err := serve(context.Background(), args)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), busy) {
			t.Errorf("%s is busy: got %v, want it to name %s and %s", flag, err, want, busy)
		}
	}
}

func TestABackupComesBackAndAFlippedBitIsFound(t *testing.T) {
	dir := t.TempDir()
	c := config{Data: dir}
	db, err := bolt.Open(bolt.Options{Path: c.file(), MapBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	held := backup(t.Context(), []string{"--data", dir, "--to", filepath.Join(dir, "no")})
	if held == nil || !strings.Contains(held.Error(), "hearthctl backup") {
		t.Errorf("while the service runs: got %v", held)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "backup")
	if err := backup(t.Context(), []string{"--data", dir, "--to", to}); err != nil {
		t.Fatal(err)
	}
	if err := backup(t.Context(), []string{"--data", dir, "--to", to}); err == nil {
		t.Error("an existing file was replaced")
	}
	again := filepath.Join(dir, "again")
	if err := restore(t.Context(), []string{"--data", again, "--from", to}); err != nil {
		t.Fatal(err)
	}
	if err := check(t.Context(), []string{"--data", again}); err != nil {
		t.Error(err)
	}
	if err := restore(t.Context(), []string{"--data", again, "--from", to}); err == nil {
		t.Error("an existing store was replaced")
	}
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := restore(t.Context(), []string{"--data", filepath.Join(dir, "third"), "--from", to}); err == nil {
		t.Error("a backup with a flipped bit was restored")
	}
}
