package risk

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenFile = "testdata/scores.golden"

// scoreStory plays an irregular hour of samples and writes every bit of every score.
func scoreStory(t *testing.T) []byte {
	m := sampleModel(t)
	k, s := m.NewLink(), NewScorer(m)
	d := dice(42)
	var out bytes.Buffer
	at := 0.0
	for i := range 600 {
		at += 0.1 + mul(20, d.unit()) // the story must not fuse either
		for j := range m.Input.Signals {
			switch u := d.unit(); {
			case u < 0.2: // missing
			case j == 2:
				m.Put(k, j, at, math.Round(u-0.3))
			default:
				m.Put(k, j, at, mul(math.Ldexp(d.unit(), j*2), float64(1+i/200)))
			}
		}
		r := s.Score(k, at+mul(5, d.unit()))
		m.Learn(k, at, r.Base, d.unit() < 0.3, 0.1)
		fmt.Fprintf(&out, "%016x %016x %s", math.Float64bits(r.Probability), math.Float64bits(r.Logit), r.Abstain)
		for _, q := range r.Reasons[:r.N] {
			fmt.Fprintf(&out, " %s/%s %016x", q.Signal, q.What, math.Float64bits(q.Share))
		}
		out.WriteByte('\n')
	}
	state, err := m.Export(k, at)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&out, "state %x\n", state)
	return out.Bytes()
}

func TestGoldenScores(t *testing.T) {
	got := scoreStory(t)
	if *update {
		if err := os.WriteFile(goldenFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(got, want) {
		return
	}
	g, w := bytes.Split(got, []byte("\n")), bytes.Split(want, []byte("\n"))
	for i := range min(len(g), len(w)) {
		if !bytes.Equal(g[i], w[i]) {
			t.Fatalf("line %d on %s:\n got %s\nwant %s", i+1, runtime.GOARCH, g[i], w[i])
		}
	}
	t.Fatalf("%d lines, want %d", len(g), len(w))
}

// The same goldens must come out of the processors hubs have. They run under qemu-user, which has to be there.
func TestGoldenScoresAreTheSameOnHubProcessors(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		return // this is the emulated run itself
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ arch, qemu, extra string }{
		{"arm64", "qemu-aarch64", ""},
		{"mipsle", "qemu-mipsel", "GOMIPS=softfloat"},
	} {
		t.Run(c.arch, func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "risk.test")
			build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", bin, ".")
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+c.arch, "CGO_ENABLED=0", c.extra)
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("build for %s: %v\n%s", c.arch, err, out)
			}
			run := exec.CommandContext(t.Context(), c.qemu, bin, "-test.run=^(TestGoldenScores|TestATrackRemembersWhatItSays)$", "-test.v")
			run.Dir = dir
			out, err := run.CombinedOutput()
			if err != nil {
				t.Fatalf("%s (Debian package qemu-user): %v\n%s", c.qemu, err, out)
			}
			if !bytes.Contains(out, []byte("--- PASS: TestGoldenScores ")) {
				t.Fatalf("the emulated run did not run the goldens:\n%s", out)
			}
		})
	}
}
