package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheTreeKeepsItsOwnRules(t *testing.T) {
	breaches, packages, err := judge("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range breaches {
		t.Error(b)
	}
	if packages == 0 {
		t.Error("found no packages at all")
	}
}

func TestEachRuleRefusesItsBreach(t *testing.T) {
	for _, c := range []struct {
		from, to string
		want     string // part of the rule; empty means allowed
	}{
		{"protocol", "agent", "protocol imports nobody"},
		{"protocol/risk", "protocol", ""},
		{"agent/outbox", "cloud", "never import each other"},
		{"cloud/desk", "agent", "never import each other"},
		{"cloud/desk", "cmd/hearth-lab/home", "nobody outside cmd"},
		{"cloud/desk", "cloud/identity", "siblings"},
		{"cloud/desk", "cloud/store", ""},
		{"cloud/desk", "cloud/store/bolt", "siblings"},
		{"cloud/desk", "cloud/timeline", ""},
		{"cloud/gateway", "cloud/gateway/ingest", ""},
		{"cloud/httpapi", "cloud/desk", ""},
		{"cloud/app", "cloud/desk", ""},
		{"agent/remedy", "firmware-bridge/linux", "drivers"},
		{"agent/app", "firmware-bridge/linux", ""},
		{"agent/uplink", "agent/outbox", "siblings"},
		{"firmware-bridge/linux", "agent", "only protocol"},
		{"cmd/hearth-lab/fleet", "agent/app", ""},
		{"agent", "scripts/tools", "nobody imports scripts"},
	} {
		got := refuse(c.from, c.to, false)
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s imports %s: got %q, want %q", c.from, c.to, got, c.want)
		}
	}
}

func TestAPackageWithoutACommentIsABreach(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "agent"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "agent", "a.go"), []byte("package agent\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	breaches, _, err := judge(root)
	if err != nil || len(breaches) != 1 || !strings.Contains(breaches[0].rule, "package comment") {
		t.Errorf("got %v, %v; want one breach about the package comment", breaches, err)
	}
}

func TestLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, c := range []struct {
		from, to string
		refused  bool
	}{
		{"cmd/hearth-agent", "github.com/spf13/viper", true},
		{"agent/uplink", "github.com/pion/webrtc/v4", true},
		{"agent/assist", "github.com/pion/webrtc/v4", false},
		{"cloud/desk", "github.com/jackc/pgx/v5", true},
		{"cloud/store/postgres", "github.com/jackc/pgx/v5", false},
		{"cmd/hearth-cloud", "github.com/spf13/viper", false},
	} {
		if got := refuseLibrary(c.from, c.to) != ""; got != c.refused {
			t.Errorf("%s imports %s: refused %v, want %v", c.from, c.to, got, c.refused)
		}
	}
}
