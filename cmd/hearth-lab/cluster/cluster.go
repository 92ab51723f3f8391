// Package cluster runs Hearthline past one machine, on one: a mosquitto under the shipped configuration, a
// PostgreSQL, three hearth-cloud instances and a fleet of real agents, all on loopback.
//
//	agents --mTLS--> mosquitto --$share--> hearth-cloud a, b, c --> PostgreSQL
//
// With --once it tells the story of faults: every instance is killed in turn, then the broker and the
// database, while the fleet reports; at the end the ledger of what devices were told must agree with the
// database record by record. Screens on every instance must have shown what any other committed.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/external/mosquittotest"
	"github.com/hearthline/hearthline/cloud/store/postgres"
	"github.com/hearthline/hearthline/cloud/store/postgres/pgtest"
	"github.com/hearthline/hearthline/cmd/hearth-lab/chaos"
)

type options struct {
	cloud   string
	devices int
	once    bool
	json    bool
	calm    time.Duration
}

// cluster is what runs.
type cluster struct {
	options
	dir       string
	pg        *pgtest.Server
	service   string // database URLs
	owner     string
	authority *ca.CA
	broker    *mosquittotest.Broker
	instances []*instance
	fleet     *exec.Cmd
	live      Live
}

type instance struct {
	name, http string
	proc       *exec.Cmd
}

// Run is the tool "cluster".
func Run(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("cluster", flag.ContinueOnError)
	var o options
	fs.StringVar(&o.cloud, "hearth-cloud", "hearth-cloud", "the program")
	fs.IntVar(&o.devices, "devices", 20, "agents")
	fs.BoolVar(&o.once, "once", false, "tell the story of faults and exit 0 only if nothing was lost or doubled")
	fs.BoolVar(&o.json, "json", false, "with --once: print the verdict as JSON")
	fs.DurationVar(&o.calm, "calm", 75*time.Second, "with --once: how long the fleet has after the last fault; reconnecting backs off up to a minute")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	dir, err := os.MkdirTemp("", "hearth-lab-cluster-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := &cluster{options: o, dir: dir}
	defer c.stop()
	if err := c.start(ctx); err != nil {
		return err
	}
	for _, i := range c.instances {
		fmt.Fprintf(os.Stderr, "instance %s   http://%s\n", i.name, i.http)
	}
	fmt.Fprintf(os.Stderr, "devices      mqtts://%s (mosquitto)\ndatabase     %s\npassword     %s\n", c.broker.Outer, c.service, filepath.Join(dir, "password"))
	if !o.once {
		fmt.Fprintln(os.Stderr, "Ctrl-C ends it and removes everything")
		<-ctx.Done()
		return nil
	}
	if err := c.story(ctx); err != nil {
		return err
	}
	return c.judge(ctx)
}

func (c *cluster) start(ctx context.Context) (err error) {
	say("PostgreSQL")
	if c.pg, err = pgtest.New(); err != nil {
		return err
	}
	if c.service, c.owner, err = c.pg.Database(); err != nil {
		return err
	}
	db, err := postgres.Open(ctx, postgres.Options{URL: c.service, MigrateURL: c.owner}, app.Tables()...)
	if err != nil {
		return err
	}
	err = chaos.Provision(ctx, db, c.devices+1) // the last is for screens
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if c.authority, err = ca.Open(ca.Options{Dir: filepath.Join(c.dir, "data", "gateway")}); err != nil {
		return err
	}
	say("mosquitto")
	if c.broker, err = mosquittotest.New(c.authority); err != nil {
		return err
	}
	for _, name := range []string{"a", "b", "c"} {
		i := &instance{name: name}
		if i.http, err = freePort(); err != nil {
			return err
		}
		c.instances = append(c.instances, i)
		say("instance " + name)
		if err := c.startInstance(ctx, i); err != nil { // one after the other: the first makes the keys
			return err
		}
	}
	say(strconv.Itoa(c.devices) + " agents")
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c.fleet = exec.Command(self, "fleet", "--dir", filepath.Join(c.dir, "devices"), "--ca", filepath.Join(c.dir, "data", "gateway"),
		"--broker", c.broker.Outer, "--tenant", chaos.Tenant, "--prefix", chaos.Prefix, "--devices", strconv.Itoa(c.devices),
		"--interval", "1s", "--batch", "2s", "--spread", "2s", "--events", "1s", "--ledger", c.ledger())
	c.fleet.Stderr = os.Stderr
	return c.fleet.Start()
}

func (c *cluster) ledger() string { return filepath.Join(c.dir, "ledger.jsonl") }

func (c *cluster) startInstance(ctx context.Context, i *instance) error {
	args := []string{
		"serve", "--data", filepath.Join(c.dir, "data"), "--tenant.id", chaos.Tenant, "--log", "error",
		"--http.listen", i.http, "--devices.enrol", "127.0.0.1:0", "--devices.hosts", "127.0.0.1",
		"--devices.mqtt", c.broker.Outer, "--devices.broker", "tls://" + c.broker.Inner, "--devices.instance", i.name,
		"--store.engine", "postgres", "--store.url", c.service, "--store.migrate_url", c.owner,
	}
	if i.name == "a" {
		if _, err := os.Stat(filepath.Join(c.dir, "password")); err != nil {
			args = append(args, "--first_password_file", filepath.Join(c.dir, "password"))
		}
	}
	i.proc = exec.CommandContext(ctx, c.cloud, args...)
	i.proc.Stderr = os.Stderr
	if err := i.proc.Start(); err != nil {
		return fmt.Errorf("instance %s: %w", i.name, err)
	}
	return await("instance "+i.name, func() bool {
		resp, err := http.Get("http://" + i.http + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (c *cluster) stop() {
	kill(c.fleet)
	for _, i := range c.instances {
		kill(i.proc)
	}
	if c.broker != nil {
		c.broker.Close()
	}
	if c.pg != nil {
		c.pg.Close()
	}
}

func kill(p *exec.Cmd) {
	if p != nil && p.Process != nil {
		p.Process.Kill()
		p.Wait()
	}
}

// story is the faults, one after the other, under load.
func (c *cluster) story(ctx context.Context) error {
	pause := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := pause(8 * time.Second); err != nil {
		return err
	}
	say("live screens on every instance")
	if err := c.watchLive(ctx); err != nil {
		return fmt.Errorf("live screens: %w", err)
	}
	for _, i := range c.instances {
		say("kill -9 of instance " + i.name)
		kill(i.proc)
		if err := pause(3 * time.Second); err != nil {
			return err
		}
		if err := c.startInstance(ctx, i); err != nil {
			return err
		}
		if err := pause(3 * time.Second); err != nil {
			return err
		}
	}
	say("restart of the broker")
	if err := c.watchThroughRestart(ctx, pause); err != nil {
		return fmt.Errorf("live screens: %w", err)
	}
	say("kill -9 and restart of PostgreSQL")
	if err := errors.Join(c.pg.Kill(), pause(2*time.Second), c.pg.Start(), pause(4*time.Second)); err != nil {
		return err
	}
	say("rolling restart of the instances")
	for _, i := range c.instances {
		i.proc.Process.Signal(os.Interrupt)
		i.proc.Wait()
		if err := c.startInstance(ctx, i); err != nil {
			return err
		}
	}
	say("calm")
	err := pause(c.calm)
	kill(c.fleet)
	return errors.Join(err, pause(2*time.Second))
}

// judge compares the ledger of the fleet with the database.
func (c *cluster) judge(ctx context.Context) error {
	db, err := postgres.Open(ctx, postgres.Options{URL: c.service, MigrateURL: c.owner}, app.Tables()...)
	if err != nil {
		return err
	}
	defer db.Close()
	v, err := chaos.Audit{Ledger: c.ledger(), Devices: c.devices}.Judge(ctx, db)
	if err != nil {
		return err
	}
	if c.json {
		report := struct {
			chaos.Verdict
			Live Live `json:"live_screens"`
		}{v, c.live}
		if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
			return err
		}
	} else {
		fmt.Printf("acked %d (%d events, %d telemetry)  lost %d  doubled %d  gaps declared %d\n", v.Acked, v.Events, v.Telemetry, v.Lost, v.Doubled, v.GapsDeclared)
		for _, e := range v.Examples {
			fmt.Println(" ", e)
		}
		fmt.Print(c.live)
	}
	switch {
	case v.Acked == 0:
		return errors.New("nothing was acknowledged: nothing was proved")
	case v.Lost+v.Doubled > 0:
		return fmt.Errorf("%d records were lost or doubled", v.Lost+v.Doubled)
	}
	return nil
}

func say(what string) { fmt.Fprintf(os.Stderr, "%s  %s\n", time.Now().Format(time.TimeOnly), what) }

// await waits for another program to get ready.
func await(what string, ready func() bool) error {
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if ready() {
			return nil
		}
	}
	return fmt.Errorf("%s did not get ready within a minute", what)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
