package app_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearthline/hearthline/agent/app"
)

func TestConfigurationIsReadOrRefusedByTheNameOfItsKey(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"the least":                      {"data_dir = /x", ""},
		"comments, blanks and all kinds": {"# a hub\n\n  data_dir=/x \ninterval = 1s\noutbox_max_bytes = 1000000\nassist_command = /bin/a --config /etc/x\nlog_level = debug\nlinux.probe = 192.0.2.1\n", ""},
		"nothing":                        {"", `key "data_dir" is missing`},
		"an unknown key":                 {"data_dir = /x\nintervall = 1s", `line 2: unknown key "intervall"`},
		"a key twice":                    {"data_dir = /x\ndata_dir = /y", `line 2: key "data_dir" is given twice`},
		"a key without a value":          {"data_dir =", `key "data_dir" needs a value`},
		"a line that is none":            {"data_dir", `line 1: "data_dir" is not "key = value"`},
		"no duration":                    {"data_dir = /x\nbatch = 5 minutes", `key "batch"`},
		"a negative duration":            {"data_dir = /x\nbatch = -5m", `key "batch": want more than zero`},
		"no number":                      {"data_dir = /x\noutbox_max_bytes = much", `key "outbox_max_bytes"`},
		"a driver that is none":          {"data_dir = /x\ndriver = windows", `no driver "windows"`},
		"a level that is none":           {"data_dir = /x\nlog_level = loud", `key "log_level"`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "agent.conf")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := app.ReadConfig(path)
			if c.want == "" {
				if err != nil || got.DataDir != "/x" {
					t.Fatalf("%+v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
	if _, err := app.ReadConfig("/nowhere/agent.conf"); err == nil || !strings.Contains(err.Error(), "/nowhere/agent.conf") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestDriverSettingsAreRefusedByTheNameOfTheirKey(t *testing.T) {
	for key, value := range map[string]string{"probe": "not an address", "resolvers": "192.0.2.1 nonsense", "colour": "blue"} {
		_, err := app.OpenDriver(&app.Config{Driver: "linux", Settings: map[string]string{key: value}})
		if err == nil || !strings.Contains(err.Error(), `"linux.`+key+`"`) {
			t.Errorf("linux.%s = %s: %v", key, value, err)
		}
	}
	if _, err := app.OpenDriver(&app.Config{Driver: "windows"}); err == nil {
		t.Error("a driver that is none was opened")
	}
}

var discard = slog.New(slog.DiscardHandler)

func TestAnAgentThatCannotEnrolSaysWhichKeyIsMissing(t *testing.T) {
	for want, c := range map[string]*app.Config{
		`"enrol_url"`:        {DataDir: t.TempDir(), EnrolToken: "t"},
		`"enrol_token"`:      {DataDir: t.TempDir(), EnrolURL: "https://localhost:1"},
		`"enrol_ca_file"`:    {DataDir: t.TempDir(), EnrolCAFile: "/nowhere/ca.pem"},
		`"enrol_token_file"`: {DataDir: t.TempDir(), EnrolURL: "https://localhost:1", EnrolFile: t.TempDir()},
	} {
		err := app.Serve(t.Context(), c, discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to name %s", err, want)
		}
	}
}

func FuzzReadConfig(f *testing.F) {
	f.Add("data_dir = /x\ninterval = 1s\nlinux.probe = 192.0.2.1\n")
	f.Add("data_dir")
	path := filepath.Join(f.TempDir(), "agent.conf")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := app.ReadConfig(path)
		if err == nil && (c.DataDir == "" || c.Interval < 0 || c.MaxBytes < 0) {
			t.Errorf("%q is read as %+v", text, c)
		}
	})
}
