package report

import (
	"fmt"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// links writes a small set of two sites whose links shake before they break down.
func links(t *testing.T, dir string) {
	t.Helper()
	var b strings.Builder
	b.WriteString("site,src,dst,ts,rssi,pdr,tx\n")
	for _, site := range []string{"a", "b"} {
		for l := range 5 {
			rng := rand.New(rand.NewPCG(uint64(l), uint64(len(site))))
			fault := 150 + rng.IntN(200)
			for i := range 600 {
				if i > fault+6 {
					fault = i + 150 + rng.IntN(200)
				}
				pdr := 0.99 - 0.02*rng.Float64()
				switch {
				case i >= fault:
					pdr = 0.3
				case i > fault-60:
					pdr -= 0.15 * rng.Float64()
				}
				fmt.Fprintf(&b, "%s,src%d,%d,%d,-70,%.3f,80\n", site, l, l, 1_600_000_000+900*i, pdr)
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "smartmesh_links"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "smartmesh_links", "links.csv"), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestAReportHasItsTablesAndPlots(t *testing.T) {
	data, out := t.TempDir(), t.TempDir()
	links(t, data)
	if err := Run(t.Context(), []string{"--data", data, "--out", out, "--tasks", "link24", "--draws", "20"}); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(out, "report.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## link24", "| ensemble with own past | 0.", "| logistic alone | 0.", "| a | ", "| b | ", "| delivery | "} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, name := range plotNames {
		f, err := os.Open(filepath.Join(out, "link24-"+name+".png"))
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		colours := map[any]bool{}
		for x := 0; x < img.Bounds().Dx(); x += 2 {
			for y := 0; y < img.Bounds().Dy(); y += 2 {
				colours[img.At(x, y)] = true
			}
		}
		if len(colours) < 4 {
			t.Errorf("plot %s is empty", name)
		}
		if !strings.Contains(string(page), "link24-"+name+".png") {
			t.Errorf("the page does not show plot %s", name)
		}
	}
	if err := Run(t.Context(), []string{"--data", t.TempDir(), "--out", out, "--tasks", "onset24"}); err == nil || !strings.Contains(err.Error(), "device_15min.csv") {
		t.Errorf("without data: err = %v", err)
	}
}
