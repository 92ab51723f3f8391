package footprint

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The agent is built for each processor that hubs have and run under qemu-user, which has to be there. One
// processor is enough every day, the one that is least like ours; HEARTH_LONG=1 takes them all.
func TestTheAgentFitsAHubAndRunsOnItsProcessor(t *testing.T) {
	t.Chdir("../../..")
	for _, p := range processors {
		emulator := map[string]string{"arm64": "qemu-aarch64", "armv7": "qemu-arm", "mipsle": "qemu-mipsel"}[p.name]
		if emulator == "" || p.name != "mipsle" && os.Getenv("HEARTH_LONG") == "" {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			dir := t.TempDir()
			size, err := build(t.Context(), dir, p.env, "./cmd/hearth-agent")
			if err != nil {
				t.Fatal(err)
			}
			if float64(size) > p.goal*mb {
				t.Errorf("%.2f MB, want %.0f at most", float64(size)/mb, p.goal)
			}
			run := func(args ...string) (string, error) {
				out, err := exec.CommandContext(t.Context(), emulator, append([]string{filepath.Join(dir, "hearth-agent")}, args...)...).CombinedOutput()
				return string(out), err
			}
			if out, err := run("--version"); err != nil || strings.TrimSpace(out) != "dev" {
				t.Errorf("%s hearth-agent --version: %q, %v", emulator, out, err)
			}
			config := filepath.Join(dir, "agent.conf")
			if err := os.WriteFile(config, fmt.Appendf(nil, "data_dir = %s/data\n", dir), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := run("--config", config); err == nil || !strings.Contains(out, `key "enrol_url" is missing`) {
				t.Errorf("a configuration without enrolment: %q, %v", out, err)
			}
		})
	}
}
