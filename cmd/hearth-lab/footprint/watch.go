package footprint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/fleet"
	"github.com/hearthline/hearthline/cloud/gateway"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cloud/telemetry"
	"github.com/hearthline/hearthline/cloud/timeline"
	"golang.org/x/sys/unix"
)

// program is one of the three.
type program struct {
	name  string
	cmd   *exec.Cmd
	start time.Duration // of processor time, when the watch began: what starting up took
	peak  int64         // resident, bytes
	sum   int64
	n     int64
}

// settling is how long all three may take to start: the agent enrols, connects, and gives the memory of its
// start back after 20 s.
const settling = 25 * time.Second

// watch runs the agent against a real gateway, node_exporter under a scraper and collectd, and prints what
// they took.
func watch(ctx context.Context, dir string, interval, long time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	config, stop, err := door(ctx, dir, interval)
	if err != nil {
		return err
	}
	defer func() { cancel(); stop() }() // the gateway ends with the context
	exporter, err := freeAddress()
	if err != nil {
		return err
	}
	collectd := filepath.Join(dir, "collectd.conf")
	if err := os.WriteFile(collectd, []byte(collectdConf(dir, interval)), 0o600); err != nil {
		return err
	}
	programs := []*program{
		{name: "hearth-agent", cmd: exec.CommandContext(ctx, filepath.Join(dir, runtime.GOARCH, "hearth-agent"), "--config", config)},
		{name: "node_exporter", cmd: exec.CommandContext(ctx, find("prometheus-node-exporter"), "--web.listen-address="+exporter)},
		{name: "collectd", cmd: exec.CommandContext(ctx, find("collectd"), "-f", "-C", collectd)},
	}
	for _, p := range programs {
		var said bytes.Buffer
		p.cmd.Stdout, p.cmd.Stderr = nil, &said
		if err := p.cmd.Start(); err != nil {
			return fmt.Errorf("%s must be installed: %w", p.name, err)
		}
		defer func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() }()
	}
	go scrape(ctx, "http://"+exporter+"/metrics", interval)
	fmt.Printf("\nrunning for %s, one sample every %s, the same for all three\n", long, interval)
	if !sleep(ctx, settling+2*interval) {
		return ctx.Err()
	}
	for _, p := range programs {
		if p.start, err = cpu(p.cmd.Process.Pid); err != nil {
			return fmt.Errorf("%s did not stay: %w", p.name, err)
		}
	}
	start := time.Now()
	for time.Since(start) < long {
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
		for _, p := range programs {
			rss, err := resident(p.cmd.Process.Pid)
			if err != nil {
				return fmt.Errorf("%s did not stay: %w", p.name, err)
			}
			p.peak, p.sum, p.n = max(p.peak, rss), p.sum+rss, p.n+1
		}
	}
	took := time.Since(start)
	fmt.Printf("  %-14s %10s %10s %12s %12s %14s\n", "", "RSS, MB", "peak, MB", "CPU s/hour", "a sample, us", "start, CPU ms")
	for _, p := range programs {
		used, err := cpu(p.cmd.Process.Pid)
		if err != nil {
			return err
		}
		used -= p.start
		fmt.Printf("  %-14s %10.1f %10.1f %12.2f %12.0f %14.0f\n", p.name, float64(p.sum/p.n)/mb, float64(p.peak)/mb,
			used.Seconds()/took.Hours(), float64(used.Microseconds())*interval.Seconds()/took.Seconds(), float64(p.start.Milliseconds()))
	}
	return nil
}

// door starts a gateway with one home and one device and returns the configuration of its agent.
func door(ctx context.Context, dir string, interval time.Duration) (config string, stop func(), err error) {
	var tables []store.Declared
	for _, more := range [][]store.Declared{gateway.Tables(), telemetry.Tables(), timeline.Tables(), fleet.Tables()} {
		tables = append(tables, more...)
	}
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "store.db"), MapBytes: 64 << 20}, tables...)
	if err != nil {
		return "", nil, err
	}
	log := timeline.New(nil)
	gw, err := gateway.New(gateway.Options{
		DB: db, Dir: filepath.Join(dir, "gateway"), Devices: fleet.Presence{}, Timeline: log, Telemetry: telemetry.Keeper{},
		Presence: fleet.Presence{Log: log.Append}, Tenants: func(context.Context) ([]string, error) { return []string{"lab"}, nil },
		Listen: "127.0.0.1:0", EnrolAt: "127.0.0.1:0", Hosts: []string{"127.0.0.1"},
	})
	if err == nil {
		err = gw.Bind()
	}
	if err != nil {
		return "", nil, errors.Join(err, db.Close())
	}
	var token string
	err = db.Update(ctx, "lab", func(tx store.Tx) error {
		if _, err := fleet.AddHome(tx, cloud.Home{ID: "home1", Name: "Home"}); err != nil {
			return err
		}
		if _, err := fleet.Add(tx, cloud.Device{ID: "hub-1", Home: "home1", Name: "Hub"}); err != nil {
			return err
		}
		token, err = gw.MintToken(tx, "home1", "hub-1", time.Hour)
		return err
	})
	if err != nil {
		return "", nil, errors.Join(err, db.Close())
	}
	done := make(chan error, 1)
	go func() { done <- gw.Run(ctx) }()
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, gw.CA().PEM(), 0o600); err != nil {
		return "", nil, err
	}
	config = filepath.Join(dir, "agent.conf")
	text := fmt.Sprintf("data_dir = %s\nenrol_url = https://%s\nenrol_token = %s\nenrol_ca_file = %s\ninterval = %s\nreconnect_spread = 1s\nlinux.cloud = %s\n",
		filepath.Join(dir, "agent"), gw.EnrolAddr(), token, ca, interval, gw.Addr())
	return config, func() { <-done; _ = db.Close() }, os.WriteFile(config, []byte(text), 0o600)
}

func collectdConf(dir string, interval time.Duration) string {
	return fmt.Sprintf(`Interval %d
BaseDir "%s"
PIDFile "%[2]s/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin cpu
LoadPlugin memory
LoadPlugin interface
LoadPlugin df
LoadPlugin load
LoadPlugin tcpconns
LoadPlugin uptime
LoadPlugin network
<Plugin network>
  Server "127.0.0.1" "25826"
</Plugin>
`, int(interval.Seconds()), dir)
}

func scrape(ctx context.Context, url string, interval time.Duration) {
	for sleep(ctx, interval) {
		r, err := http.Get(url)
		if err != nil {
			continue
		}
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
}

func find(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	return "/usr/sbin/" + name
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// cpu is the processor time that the process took so far, all its threads together, also those that ended:
// its clock as of clock_getcpuclockid(3), in nanoseconds. /proc/PID/stat counts in steps of 10 ms, which is
// too coarse for a quiet program, and /proc/PID/task forgets threads that ended.
func cpu(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED of the kernel: user and system time as the scheduler counts it
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|sched), &t); err != nil {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

func resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	pages, err := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	if err != nil || pages == 0 {
		return 0, fmt.Errorf("process %d is over", pid)
	}
	return pages * int64(os.Getpagesize()), nil
}
