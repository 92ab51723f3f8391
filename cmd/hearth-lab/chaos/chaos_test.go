package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	labfleet "github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
)

// labMain is main of hearth-lab, of which the lab starts two tools.
func labMain() {
	run := map[string]func(context.Context, []string) error{"chaos": Run, "fleet": labfleet.Run}[os.Args[1]]
	if err := run(context.Background(), os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runLab runs the tool as a process of its own, since it moves to other namespaces.
func runLab(t *testing.T, args ...string) (Report, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root for disks and networks of its own")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"chaos", "--json"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	ended := cmd.Run()
	var r Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%v: %v\n%s", ended, err, &said)
	}
	t.Logf("%s%s", &said, &out)
	if len(r.Notes) > 0 {
		t.Errorf("not all faults are possible here: %v", r.Notes)
	}
	return r, ended
}

func TestNothingIsLostWhateverBreaks(t *testing.T) {
	t.Parallel()
	r, err := runLab(t, "--minutes", "0.25", "--devices", "4", "--broker", "mosquitto")
	if err != nil {
		t.Error(err)
	}
	if r.Acked < 50 || r.Dated == 0 || len(r.Faults) < 8 {
		t.Errorf("little was proved: %+v", r)
	}
}

func TestACloudThatAcknowledgesBeforeItCommitsIsFoundOut(t *testing.T) {
	t.Parallel()
	var exit *exec.ExitError
	if r, err := runLab(t, "--kills", "12", "--devices", "4", "--control"); r.Lost == 0 || errors.As(err, &exit) {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestAThousandKillsLoseNothing(t *testing.T) {
	kills := "10"
	if os.Getenv("HEARTH_LONG") != "" {
		kills = "1000"
	}
	t.Parallel()
	if _, err := runLab(t, "--kills", kills, "--devices", "4"); err != nil {
		t.Error(err)
	}
}
