// Package chaos breaks everything between devices and timeline, in an order that a seed gives, while a
// fleet of real agents reports, and then compares what each device was told is committed with what the
// cloud holds.
//
//	agents (one process) --- proxy (weather) --- cloud (one process)
//	  own disk, ledger outside it                  own disk
//
// The faults: kill -9 of the agents and of the cloud with its broker, power cuts of either's disk, a full
// disk in the cloud, 20 % loss, blackholes, resets and partitions. The control run has a cloud that
// acknowledges before it commits; when that one loses nothing, the lab is blind, and says so.
package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
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

type options struct {
	minutes float64
	seed    uint64
	devices int
	json    bool
	control bool
	dir     string
}

// Report is the result of a run.
type Report struct {
	Verdict
	Seed    uint64         `json:"seed"`
	Minutes float64        `json:"minutes"`
	Devices int            `json:"devices"`
	Control bool           `json:"control,omitempty"`
	Faults  map[string]int `json:"faults"`
	Notes   []string       `json:"notes,omitempty"` // faults that this machine does not allow
}

// Run is the tool "chaos". It fails when something was lost or doubled, and in a control run when nothing
// was.
func Run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		return serve(ctx, args[1:])
	}
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	var o options
	fs.Float64Var(&o.minutes, "minutes", 2, "how long faults go on")
	fs.Uint64Var(&o.seed, "seed", 1, "of the schedule of faults")
	fs.IntVar(&o.devices, "devices", 20, "agents")
	fs.BoolVar(&o.json, "json", false, "print JSON only")
	fs.BoolVar(&o.control, "control", false, "a cloud that acknowledges before it commits: it must lose")
	fs.StringVar(&o.dir, "dir", "", "where everything is put; empty: a temporary folder, removed at the end")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if o.minutes <= 0 || o.devices < 1 {
		return errors.New("want --minutes above 0 and --devices of at least 1")
	}
	if os.Geteuid() == 0 && os.Getenv(insideEnv) == "" {
		return runInside(ctx, args)
	}
	rep, err := o.run(ctx)
	if err != nil {
		return err
	}
	if o.json {
		if err := json.NewEncoder(os.Stdout).Encode(rep); err != nil {
			return err
		}
	} else {
		fmt.Printf("acked %d (%d events, %d telemetry)  lost %d  doubled %d  gaps declared %d\nfaults %v\n", rep.Acked, rep.Events, rep.Telemetry, rep.Lost, rep.Doubled, rep.GapsDeclared, rep.Faults)
		for _, n := range append(rep.Notes, rep.Examples...) {
			fmt.Println(" ", n)
		}
	}
	switch bad := rep.Lost + rep.Doubled; {
	case rep.Acked == 0:
		return errors.New("nothing was acknowledged: nothing was proved")
	case o.control && rep.Lost == 0:
		return errors.New("the control lost nothing: this lab is blind")
	case !o.control && bad > 0:
		return fmt.Errorf("%d records were lost or doubled", bad)
	}
	return nil
}

// insideEnv tells the process that its mounts are its own.
const insideEnv = "HEARTH_LAB_OWN_MOUNTS"

// runInside runs the tool again in a mount namespace of its own. Elsewhere a program that makes one while
// a disk of the lab is mounted would keep the disk's file system alive across its power cut.
func runInside(ctx context.Context, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, self, append([]string{"chaos"}, args...)...)
	c.Stdout, c.Stderr, c.Env = os.Stdout, os.Stderr, append(os.Environ(), insideEnv+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	if err := c.Run(); err != nil {
		return fmt.Errorf("in its own mounts: %w", err)
	}
	return nil
}

// lab is what runs.
type lab struct {
	*options
	root          string
	cloud, agents *disk
	mqtt          string // where the cloud serves devices, behind the proxy
	proxy         *proxy
	cloudProc     *exec.Cmd
	agentProc     *exec.Cmd
	log           io.Writer
	report        Report
}

func (o *options) run(ctx context.Context) (rep Report, err error) {
	root := o.dir
	if root == "" {
		if root, err = os.MkdirTemp("", "hearth-lab-chaos-"); err != nil {
			return rep, err
		}
		defer os.RemoveAll(root)
	}
	l := &lab{options: o, root: root, log: os.Stderr, report: Report{Seed: o.seed, Minutes: o.minutes, Devices: o.devices, Control: o.control, Faults: map[string]int{}}}
	for _, d := range []struct {
		disk **disk
		name string
		size int64
	}{{&l.cloud, "cloud", 512}, {&l.agents, "agents", 512}} {
		var err error
		if *d.disk, err = newDisk(root, d.name, d.size); err != nil {
			l.report.Notes = append(l.report.Notes, err.Error())
		}
		defer (*d.disk).close()
	}
	if l.mqtt, err = freePort(); err != nil {
		return rep, err
	}
	if l.proxy, err = newProxy(l.mqtt); err != nil {
		return rep, err
	}
	defer l.proxy.close()
	defer func() { l.kill(l.agentProc); l.kill(l.cloudProc) }()
	if err := l.startCloud(ctx); err != nil {
		return rep, err
	}
	if err := l.startAgents(ctx); err != nil {
		return rep, err
	}
	if err := l.storm(ctx); err != nil {
		return rep, err
	}
	if err := l.calm(ctx); err != nil {
		return rep, err
	}
	db, err := openStore(l.cloud.dir)
	if err != nil {
		return rep, err
	}
	defer db.Close()
	if err := db.Check(ctx); err != nil {
		return rep, fmt.Errorf("the store after it all: %w", err)
	}
	l.report.Verdict, err = Judge(ctx, db, l.ledger(), o.devices)
	return l.report, err
}

func (l *lab) ledger() string { return filepath.Join(l.root, "ledger.jsonl") }

// start runs this program and waits for a line of its output that contains ready.
func (l *lab) start(ctx context.Context, ready string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := exec.CommandContext(ctx, self, args...)
	p.Stderr = l.log
	out, err := p.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	r := bufio.NewReader(out)
	for {
		line, err := r.ReadString('\n')
		if strings.Contains(line, ready) {
			go io.Copy(io.Discard, r)
			return p, nil
		}
		if err != nil {
			l.kill(p)
			return nil, fmt.Errorf("%s ended before it was ready", args[0])
		}
	}
}

func (l *lab) startCloud(ctx context.Context) (err error) {
	l.cloudProc, err = l.start(ctx, "ready", "chaos", "serve", "--dir", l.cloud.dir, "--mqtt", l.mqtt,
		"--devices", strconv.Itoa(l.devices), "--lying="+strconv.FormatBool(l.control))
	return err
}

// startAgents starts the fleet. The authority is copied off the cloud's disk first: agents need it to make
// their identities, and must not depend on that disk afterwards.
func (l *lab) startAgents(ctx context.Context) error {
	authority := filepath.Join(l.root, "authority")
	if _, err := os.Stat(authority); err != nil {
		if err := os.CopyFS(authority, os.DirFS(filepath.Join(l.cloud.dir, "gateway"))); err != nil {
			return err
		}
		if _, err := ca.Open(ca.Options{Dir: authority}); err != nil {
			return err
		}
	}
	var err error
	l.agentProc, err = l.start(ctx, "devices ready", "fleet", "--dir", filepath.Join(l.agents.dir, "devices"), "--ca", authority,
		"--broker", l.proxy.addr(), "--tenant", Tenant, "--prefix", Prefix, "--devices", strconv.Itoa(l.devices),
		"--interval", "1s", "--batch", "2s", "--spread", "1s", "--events", "1s", "--ledger", l.ledger())
	return err
}

func (l *lab) kill(p *exec.Cmd) {
	if p != nil && p.Process != nil {
		p.Process.Kill()
		p.Wait()
	}
}

func (l *lab) say(format string, args ...any) {
	if !l.json {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// fault is one thing that goes wrong, from begin to the end of its cure.
type fault struct {
	name string
	do   func(ctx context.Context, l *lab, hold time.Duration) error
	most time.Duration // longest hold
	disk bool          // needs disks of its own
}

func weatherFault(w weather) func(context.Context, *lab, time.Duration) error {
	return func(ctx context.Context, l *lab, hold time.Duration) error {
		l.proxy.set(w)
		defer l.proxy.set(fair)
		return sleep(ctx, hold)
	}
}

var faults = []fault{
	{"kill_cloud", func(ctx context.Context, l *lab, hold time.Duration) error {
		l.kill(l.cloudProc)
		if err := sleep(ctx, hold); err != nil {
			return err
		}
		return l.startCloud(ctx)
	}, 3 * time.Second, false},
	{"kill_agents", func(ctx context.Context, l *lab, hold time.Duration) error {
		l.kill(l.agentProc)
		if err := sleep(ctx, hold); err != nil {
			return err
		}
		return l.startAgents(ctx)
	}, 3 * time.Second, false},
	{"power_cut_cloud", func(ctx context.Context, l *lab, hold time.Duration) error {
		return l.powerCut(ctx, l.cloud, &l.cloudProc, l.startCloud, hold)
	}, 2 * time.Second, true},
	{"power_cut_agents", func(ctx context.Context, l *lab, hold time.Duration) error {
		return l.powerCut(ctx, l.agents, &l.agentProc, l.startAgents, hold)
	}, 2 * time.Second, true},
	{"full_disk_cloud", func(ctx context.Context, l *lab, hold time.Duration) error {
		if err := l.cloud.fill(); err != nil {
			return err
		}
		err := sleep(ctx, hold)
		return errors.Join(err, l.cloud.free())
	}, 8 * time.Second, true},
	{"full_disk_agents", func(ctx context.Context, l *lab, hold time.Duration) error {
		if err := l.agents.fill(); err != nil {
			return err
		}
		err := sleep(ctx, hold)
		return errors.Join(err, l.agents.free())
	}, 8 * time.Second, true},
	{"loss_20_percent", weatherFault(lossy), 10 * time.Second, false},
	{"blackhole", weatherFault(blackhole), 15 * time.Second, false},
	{"reset", weatherFault(down), time.Second, false},
	{"partition", weatherFault(down), time.Minute, false},
}

func (l *lab) powerCut(ctx context.Context, d *disk, p **exec.Cmd, start func(context.Context) error, hold time.Duration) error {
	if err := d.cut(); err != nil {
		return err
	}
	l.kill(*p)
	if err := errors.Join(sleep(ctx, hold), d.restore()); err != nil {
		return err
	}
	return start(ctx)
}

// storm lets faults go on until the time is over. Faults of the network overlap with those of processes.
func (l *lab) storm(ctx context.Context) error {
	end := time.Now().Add(time.Duration(l.minutes * float64(time.Minute)))
	var hosts, network []fault
	for _, f := range faults {
		switch {
		case f.disk && (l.cloud.image == "" || l.agents.image == ""):
		case slices.Contains([]string{"loss_20_percent", "blackhole", "reset", "partition"}, f.name):
			network = append(network, f)
		default:
			hosts = append(hosts, f)
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	errs := make(chan error, 2)
	for i, kind := range [][]fault{hosts, network} {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(l.seed, uint64(i)))
			var order []int // each fault once before any comes twice
			for {
				if len(order) == 0 {
					order = r.Perm(len(kind))
				}
				f := kind[order[0]]
				order = order[1:]
				pause := time.Second + time.Duration(r.Int64N(int64(4*time.Second)))
				hold := min(f.most, time.Duration(l.minutes*float64(time.Minute))/8)
				hold = hold/4 + time.Duration(r.Int64N(int64(hold*3/4)+1))
				if time.Now().Add(pause+hold).After(end) || sleep(ctx, pause) != nil {
					return
				}
				l.say("%-18s for %s", f.name, hold.Round(time.Millisecond))
				if err := f.do(ctx, l, hold); err != nil {
					errs <- fmt.Errorf("%s: %w", f.name, err)
					return
				}
				mu.Lock()
				l.report.Faults[f.name]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return ctx.Err()
	}
}

// calm waits until the fleet has been told of all it had: until for a while the ledger only grows by what
// is new. Then everything stops.
func (l *lab) calm(ctx context.Context) error {
	l.proxy.set(fair)
	l.say("calm")
	// Reconnecting backs off up to a minute.
	if err := sleep(ctx, 75*time.Second); err != nil {
		return err
	}
	l.kill(l.agentProc)
	if err := sleep(ctx, 2*time.Second); err != nil { // what is under way gets committed
		return err
	}
	l.kill(l.cloudProc)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
