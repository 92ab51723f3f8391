package home

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/replay"
)

func TestARecordingCanBePlayed(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	trace, faults := filepath.Join(dir, "trace.csv"), filepath.Join(dir, "faults.csv")
	if err := Run(t.Context(), []string{"record", "--dir", filepath.Join(dir, "h"), "--minutes", "0.1", "--out", trace, "--faults", faults}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, err := replay.ReadTrace(f)
	if err != nil {
		t.Fatal(err)
	}
	// Six seconds at one sample a second, less what the home takes to come up.
	if n := len(got.Rows); n < 4 || n > 7 {
		t.Errorf("%d rows, want about 6", n)
	}
	if !reflect.DeepEqual(got.Metrics[0].Name, "gateway.reachable") || got.Rows[1][0] != 1 {
		t.Errorf("the first column is %+v with %g, want a gateway that is reachable", got.Metrics[0], got.Rows[1][0])
	}
	if text, err := os.ReadFile(faults); err != nil || string(text) != "start_ms,end_ms,kind,value,onset_ms\n" {
		t.Errorf("the faults of so short a recording are %q, %v; want none", text, err)
	}
	if err := Run(t.Context(), []string{"record", "--minutes", "0"}); err == nil || !strings.Contains(err.Error(), "--minutes") {
		t.Errorf("a recording of no length: %v", err)
	}
}

func TestAGradualFaultGrowsIsWrittenDownAndEnds(t *testing.T) {
	t.Parallel()
	h := up(t, Options{})
	out, err := os.Create(filepath.Join(t.TempDir(), "faults.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	grown := make(chan []float64)
	stop := make(chan struct{})
	go func() {
		var seen []float64
		for {
			select {
			case <-stop:
				grown <- seen
				return
			case <-time.After(5 * time.Millisecond):
			}
			if on, err := h.Faults(); err == nil && len(on) == 1 && (len(seen) == 0 || seen[len(seen)-1] != on[0].Value) {
				seen = append(seen, on[0].Value)
			}
		}
	}()
	err = h.play(t.Context(), []episode{{Fault: Fault{Kind: "loss", Value: 50}, Ramp: 1200 * time.Millisecond, Hold: 300 * time.Millisecond}}, out)
	close(stop)
	seen := <-grown
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] < seen[i-1] {
			t.Errorf("the loss went from %g to %g %%", seen[i-1], seen[i])
		}
	}
	if len(seen) < 4 || seen[len(seen)-1] != 50 {
		t.Errorf("the losses were %v %%, want steps up to 50", seen)
	}
	if on, err := h.Faults(); err != nil || len(on) != 0 {
		t.Errorf("afterwards %v is on, %v", on, err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	var start, end, onset int64
	var value float64
	line := strings.Split(string(text), "\n")[1]
	if _, err := fmt.Sscanf(line, "%d,%d,loss,%g,%d", &start, &end, &value, &onset); err != nil || value != 50 || start-onset < 1200 || end-start < 300 {
		t.Errorf("written down as %q, %v", line, err)
	}
}

func TestASeedGivesTheSameFaultsAndAnotherSeedOthers(t *testing.T) {
	a, b, c := schedule(7, time.Hour), schedule(7, time.Hour), schedule(8, time.Hour)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed gave two schedules")
	}
	if reflect.DeepEqual(a, c) {
		t.Error("two seeds gave one schedule")
	}
	if longer := schedule(7, 2*time.Hour); !reflect.DeepEqual(a, longer[:len(a)]) {
		t.Error("a longer recording does not begin like a shorter one")
	}
}

func TestEveryScheduledFaultIsValidAndFitsIntoTheRecording(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		total := time.Duration(0)
		for _, e := range schedule(seed, 20*time.Minute) {
			seen[e.Fault.Kind]++
			total += e.After + e.Ramp + e.Hold
			for n := range rampSteps + 1 {
				if err := e.step(n).validate(); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if e.Ramp > 0 && e.step(rampSteps).Value != e.Fault.Value {
				if got := e.step(rampSteps).Value; got < e.Fault.Value*0.999 || got > e.Fault.Value*1.001 {
					t.Errorf("seed %d: the ramp of %v ends at %g", seed, e.Fault, got)
				}
			}
		}
		if total > 20*time.Minute {
			t.Errorf("seed %d: faults take %v of 20m", seed, total)
		}
	}
	for _, s := range shapes {
		if seen[s.kind] == 0 {
			t.Errorf("%s was never drawn", s.kind)
		}
	}
}
