package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hearthline/hearthline/cloud/gateway/ca"
)

// IdleReport is the result of the tool "idle". Kilobytes are for each device, above what the service has
// with none.
type IdleReport struct {
	Devices     int     `json:"devices"`
	AllBack     float64 `json:"all_connected_s"`     // from the first dial, all at once, mutual TLS
	PerDevice   float64 `json:"kb_per_idle_device"`  // resident memory: the figure
	Objects     float64 `json:"kb_objects"`          // of it in objects,
	Stacks      float64 `json:"kb_stacks"`           // and in stacks of goroutines; the rest is free in between, and the runtime's own
	AtOnce      float64 `json:"kb_resident_at_once"` // resident when all had just connected, before the broker gives back
	ServiceMB   float64 `json:"service_mb"`
	CPUPerHello float64 `json:"cpu_ms_per_connect"`
}

// RunIdle is the tool "idle": what a device costs the cloud that is connected and says nothing, and how
// long a fleet takes to come back when nothing spreads it out.
func RunIdle(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("idle", flag.ContinueOnError)
	n := fs.Int("devices", 2000, "connections, all opened at once")
	wait := fs.Duration("wait", 25*time.Second, "silence before memory is read; the broker gives back what connecting took within 20s")
	asJSON := fs.Bool("json", false, "print JSON only")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if *n < 1 {
		return errors.New("want at least one device")
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil && limit.Cur < uint64(*n)+100 {
		return fmt.Errorf("%d devices need as many open files; the limit is %d (ulimit -n)", *n, limit.Cur)
	}
	dir, err := os.MkdirTemp("", "hearth-lab-idle-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	authority, err := ca.Open(ca.Options{Dir: dir})
	if err != nil {
		return err
	}
	p, addr, out, err := startSelf(ctx, []string{"ingest", "serve", "hearthline", "--dir", dir, "--devices", strconv.Itoa(*n), "--tls"})
	if err != nil {
		return err
	}
	defer p.Wait()
	defer p.Process.Kill()
	devices := make([]device, *n)
	for i := range devices {
		devices[i].id = deviceID(i)
		if devices[i].tls, err = clientTLS(authority, devices[i].id); err != nil {
			return err
		}
	}
	heldBefore, err := ask(p, out)
	if err != nil {
		return err
	}
	before, cpuBefore, err := usage(p.Process.Pid)
	if err != nil {
		return err
	}
	begin := time.Now()
	hubs := make([]*hub, *n)
	errs := make([]error, *n)
	var wg sync.WaitGroup
	for i, d := range devices {
		wg.Go(func() { hubs[i], errs[i] = redial(ctx, addr, d) })
	}
	wg.Wait()
	took := time.Since(begin)
	defer func() {
		for _, h := range hubs {
			if h != nil {
				h.Close()
			}
		}
	}()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return fmt.Errorf("device %d: %w", i+1, errs[i]) // the others will have the like
	}
	for _, h := range hubs {
		go io.Copy(io.Discard, h)
	}
	atOnce, cpuAfter, err := usage(p.Process.Pid)
	if err != nil {
		return err
	}
	select {
	case <-time.After(*wait):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, _, err := usage(p.Process.Pid)
	if err != nil {
		return err
	}
	heldAfter, err := ask(p, out)
	if err != nil {
		return err
	}
	each := func(kilobytes float64) float64 { return kilobytes / float64(*n) }
	rep := IdleReport{
		Devices: *n, AllBack: took.Seconds(), ServiceMB: float64(after) / 1024,
		PerDevice: each(float64(after - before)), AtOnce: each(float64(atOnce - before)),
		Objects:     each((float64(heldAfter.Objects) - float64(heldBefore.Objects)) / 1024),
		Stacks:      each((float64(heldAfter.Stacks) - float64(heldBefore.Stacks)) / 1024),
		CPUPerHello: each((cpuAfter - cpuBefore).Seconds() * 1000),
	}
	if *asJSON {
		return json.NewEncoder(os.Stdout).Encode(rep)
	}
	fmt.Printf("%d devices connected after %.1f s (%.2f ms cpu each); %.1f kB resident per idle device (objects %.1f, stacks %.1f), %.0f MB in all; %.1f kB when they had just come\n",
		rep.Devices, rep.AllBack, rep.CPUPerHello, rep.PerDevice, rep.Objects, rep.Stacks, rep.ServiceMB, rep.AtOnce)
	return nil
}

// ask has the service say what it holds.
func ask(p *exec.Cmd, out *bufio.Reader) (h held, err error) {
	if err := p.Process.Signal(syscall.SIGUSR1); err != nil {
		return h, err
	}
	line, err := out.ReadBytes('\n')
	if err != nil {
		return h, fmt.Errorf("the service did not say what it holds: %w", err)
	}
	return h, json.Unmarshal(line, &h)
}

// redial connects, with full jitter after a failure, as agents do.
func redial(ctx context.Context, addr string, d device) (h *hub, err error) {
	for limit := 500 * time.Millisecond; limit < 16*time.Second; limit *= 2 {
		if h, err = dial(ctx, addr, d, 1); err == nil {
			return h, nil
		}
		select {
		case <-time.After(rand.N(limit)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, err
}

// usage reads a process's resident memory, without what is backed by files, in kB, and its processor time.
func usage(pid int) (kilobytes int, cpu time.Duration, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			if kilobytes, err = strconv.Atoi(strings.Fields(rest)[0]); err != nil {
				return 0, 0, err
			}
		}
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, 0, fmt.Errorf("unexpected %s/stat", dir)
	}
	const perTick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	for _, f := range fields[11:13] {
		ticks, err := strconv.Atoi(f)
		if err != nil {
			return 0, 0, err
		}
		cpu += time.Duration(ticks) * perTick
	}
	return kilobytes, cpu, nil
}
