// Package chaos breaks everything between devices and timeline, in an order that a seed gives, while a
// fleet of real agents reports, and then compares what each device was told is committed with what the
// cloud holds.
//
//	agent 1 ─┐                        each a process in a network namespace of its own
//	agent 2 ─┼─ street ─┬─ cloud      packets are lost, held up and refused on the street
//	  ...    │          └─ broker     only with --broker mosquitto, else it is in the cloud
//	agent n ─┘
//	  one disk for all agents, one for the cloud, the ledger on neither
//
// Nothing is pretended: processes end by kill -9, packets are dropped by nftables, links are slowed by tbf,
// disks are ext4 whose power is cut (FS_IOC_SHUTDOWN without flushing the log) or that are full, and wall
// clocks jump under the feet of unchanged programs. The control run has a cloud that acknowledges before it
// commits; when that one loses nothing, the lab is blind, and says so.
package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

type options struct {
	minutes float64
	kills   int
	seed    uint64
	devices int
	broker  string
	json    bool
	control bool
	dir     string
}

// Report is the result of a run.
type Report struct {
	Verdict
	Seed    uint64         `json:"seed"`
	Minutes float64        `json:"minutes,omitempty"`
	Devices int            `json:"devices"`
	Broker  string         `json:"broker"`
	Control bool           `json:"control,omitempty"`
	Faults  map[string]int `json:"faults"`
	Crashes []string       `json:"crashes,omitempty"` // programs that ended by themselves
	Notes   []string       `json:"notes,omitempty"`   // faults that this machine does not allow
}

// Run is the tool "chaos". It fails when something was lost, doubled or given a wrong time, or when a
// program ended by itself; a control run fails when nothing was lost.
func Run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "serve" {
		return serve(ctx, args[1:])
	}
	fs := flag.NewFlagSet("chaos", flag.ContinueOnError)
	var o options
	fs.Float64Var(&o.minutes, "minutes", 2, "how long faults go on")
	fs.IntVar(&o.kills, "kills", 0, "instead: so many kill -9 in a tight row, and nothing else")
	fs.Uint64Var(&o.seed, "seed", 1, "of the schedule of faults")
	fs.IntVar(&o.devices, "devices", 12, "agents, at most 200")
	fs.StringVar(&o.broker, "broker", "embedded", "embedded, or mosquitto: a process of its own, with the cloud behind it")
	fs.BoolVar(&o.json, "json", false, "print JSON only")
	fs.BoolVar(&o.control, "control", false, "a cloud that acknowledges before it commits: it must lose")
	fs.StringVar(&o.dir, "dir", "", "where everything is put; empty: a temporary folder, removed at the end")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if o.minutes <= 0 || o.kills < 0 || o.devices < 1 || o.devices > 200 || o.broker != "embedded" && o.broker != "mosquitto" {
		return errors.New("want --minutes above 0, 1 to 200 --devices, and --broker embedded or mosquitto")
	}
	if o.kills > 0 {
		o.minutes = 0
	}
	if os.Getenv(insideEnv) == "" {
		return runInside(ctx, args)
	}
	rep, err := o.run(ctx)
	if err != nil {
		return err
	}
	if err := rep.print(o.json); err != nil {
		return err
	}
	return rep.judgement()
}

func (r *Report) print(asJSON bool) error {
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(r)
	}
	fmt.Printf("acked %d (%d events, %d telemetry)  lost %d  doubled %d  gaps declared %d\n",
		r.Acked, r.Events, r.Telemetry, r.Lost, r.Doubled, r.GapsDeclared)
	fmt.Printf("recorded %d events, not delivered %d\ndated %d, the worst off by %d ms, misdated %d\nfaults %v\n", r.Recorded, r.Undelivered, r.Dated, r.WorstOffMS, r.Misdated, r.Faults)
	for _, lines := range [][]string{r.Notes, r.Crashes, r.Examples} {
		for _, n := range lines {
			fmt.Println(" ", n)
		}
	}
	return nil
}

func (r *Report) judgement() error {
	switch {
	case r.Acked == 0:
		return errors.New("nothing was acknowledged: nothing was proved")
	case r.Control && r.Lost == 0:
		return errors.New("the control lost nothing: this lab is blind")
	case r.Control:
		return nil
	case r.Lost+r.Undelivered+r.Doubled+r.Misdated > 0:
		return fmt.Errorf("%d records were lost, %d not delivered, %d doubled, %d given a wrong time", r.Lost, r.Undelivered, r.Doubled, r.Misdated)
	case len(r.Crashes) > 0:
		return fmt.Errorf("%d programs ended by themselves", len(r.Crashes))
	}
	return nil
}

// insideEnv tells the process that its mounts are its own.
const insideEnv = "HEARTH_LAB_OWN_MOUNTS"

// runInside runs the tool again in a mount namespace of its own. Elsewhere a program that makes one while
// a disk of the lab is mounted would keep the disk's file system alive across its power cut. An ordinary
// user becomes root of a namespace, which may have networks but no disks.
func runInside(ctx context.Context, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, self, append([]string{"chaos"}, args...)...)
	c.Stdout, c.Stderr, c.Env = os.Stdout, os.Stderr, append(os.Environ(), insideEnv+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if uid := os.Geteuid(); uid != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	if err := c.Run(); err != nil {
		return fmt.Errorf("in its own mounts: %w", err)
	}
	return nil
}
