package chaos

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be hearth-lab, as far as the lab starts it again, a program that tells the
// time whenever it is asked, and the two programs of a hub.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("HEARTH_TEST_CLOCK") != "":
		start := time.Now()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println(time.Now().Unix(), time.Since(start).Milliseconds())
		}
	case len(os.Args) > 1 && (os.Args[1] == "chaos" || os.Args[1] == "fleet"):
		labMain()
	case len(os.Args) > 2 && os.Args[1] == "hub":
		hubMain(os.Args[2])
	case len(os.Args) > 1 && os.Args[1] == "assist":
		assistMain()
	default:
		os.Exit(m.Run())
	}
}

func TestTheWallClockOfAProcessJumpsAndItsMonotonicClockDoesNot(t *testing.T) {
	if _, known := clockGettime[runtime.GOARCH]; !known {
		t.Skip("not known how on " + runtime.GOARCH)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "HEARTH_TEST_CLOCK=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	clock, err := startWithClock(cmd, year)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	var last int64
	for _, offset := range []time.Duration{year, 0, -20 * year, 5 * time.Hour} {
		if err := clock.set(offset); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(in, "?")
		lines.Scan()
		wall, mono, _ := strings.Cut(lines.Text(), " ")
		sec, err := strconv.ParseInt(wall, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if off := time.Until(time.Unix(sec, 0)) - offset; off.Abs() > 10*time.Second {
			t.Errorf("set to %s off, it is %s further off", offset, off)
		}
		ms, err := strconv.ParseInt(mono, 10, 64)
		if err != nil || ms < last || ms > last+60_000 {
			t.Errorf("its monotonic clock went from %d to %d ms", last, ms)
		}
		last = ms
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if err := clock.set(0); err != nil {
		t.Errorf("for a process that has ended: %v", err)
	}
}
