package homefit

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hearthline/hearthline/protocol/risk"
)

// home writes a recording whose gateway loses packets in each fault, coming on over 20 s.
func home(t *testing.T, seed uint64) string {
	t.Helper()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(seed, 1))
	var trace, faults strings.Builder
	trace.WriteString("ts_ms,gateway.loss_ratio,dns.latency_ms{10.0.0.1},dns.active{10.0.0.1}\n")
	faults.WriteString("start_ms,end_ms,kind,value,onset_ms\n")
	next := 150 + rng.IntN(60)
	for s := range 900 {
		loss := 0.01 * rng.Float64()
		if s == next {
			fmt.Fprintf(&faults, "%d,%d,loss,30,%d\n", s*1000, (s+25)*1000, (s-20)*1000)
		}
		if s > next-20 && s <= next+25 {
			loss += 0.3 * min(1, float64(s-next+20)/20)
		}
		if s == next+25 {
			next += 120 + rng.IntN(120)
		}
		latency := fmt.Sprintf("%.2f", 12+rng.Float64())
		if rng.Float64() < 0.02 {
			latency = ""
		}
		fmt.Fprintf(&trace, "%d,%.3f,%s,1\n", s*1000, loss, latency)
	}
	write(t, filepath.Join(dir, "trace.csv"), trace.String())
	write(t, filepath.Join(dir, "faults.csv"), faults.String())
	return dir
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAModelAndABaselineComeOutOfRecordings(t *testing.T) {
	out := filepath.Join(t.TempDir(), "m")
	if err := Run(t.Context(), []string{"--out", out, home(t, 1), home(t, 2), home(t, 3)}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out + ".model.cbor")
	if err != nil {
		t.Fatal(err)
	}
	m, err := risk.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.ReadFile(out + ".baseline.cbor")
	if err != nil {
		t.Fatal(err)
	}
	if err := risk.NewObserver(m).Restore(state, 0); err != nil {
		t.Fatal(err)
	}
	h, err := read(home(t, 9), nil)
	if err != nil {
		t.Fatal(err)
	}
	a := alarms{say: func(string, ...any) {}}
	a.add(m, h)
	if a.faults < 3 || a.found != a.faults || a.early < a.faults-1 || a.wrong > 1 {
		t.Fatalf("on a home it never saw: %s", &a)
	}
}

func TestAMalformedRecordingIsNamed(t *testing.T) {
	good := home(t, 1)
	for _, c := range []struct{ name, file, text, want string }{
		{"no time", "trace.csv", "when,a\n1,2\n", "trace.csv:1"},
		{"text for a number", "trace.csv", "ts_ms,a\n1,2\n2,x\n", `trace.csv:3: column "a"`},
		{"a short row", "trace.csv", "ts_ms,a\n1\n", "trace.csv:2: 1 cells"},
		{"no end of a fault", "faults.csv", "start_ms,kind\n1,loss\n", `faults.csv:2: column "end_ms"`},
		{"an end before its start", "faults.csv", "start_ms,end_ms,kind\n9,1,loss\n", "faults.csv:2"},
		{"an onset after its start", "faults.csv", "start_ms,end_ms,kind,onset_ms\n1,9,loss,5\n", "faults.csv:2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bad := home(t, 2)
			write(t, filepath.Join(bad, c.file), c.text)
			err := Run(t.Context(), []string{"--out", filepath.Join(t.TempDir(), "m"), good, bad})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("err = %v, want %q", err, c.want)
			}
		})
	}
	if err := Run(t.Context(), []string{"--out", filepath.Join(t.TempDir(), "m"), good}); err == nil || !strings.Contains(err.Error(), "one home") {
		t.Fatalf("one home: err = %v", err)
	}
}
