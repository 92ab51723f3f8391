package chaos

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// trouble is what a kind of fault does. cure ends it; it may take as long as a program takes to start.
type trouble interface {
	begin(l *lab, f fault) (cure func(context.Context) error, err error)
}

var (
	core = []role{cloudRole, brokerRole}
	hub  = []role{hubRole}
)

// faults are all kinds. Processes, clocks, the network of the core and that of single homes go wrong at the
// same time, independently.
var faults = []kind{
	{name: "kill_cloud", on: core[:1], track: "processes", most: 3 * time.Second, trouble: kill{}},
	{name: "kill_broker", on: core[1:], track: "processes", most: 3 * time.Second, trouble: kill{}},
	{name: "kill_agent", on: hub, track: "processes", most: 3 * time.Second, trouble: kill{}},
	{name: "power_cut_cloud", on: core[:1], track: "processes", most: 2 * time.Second, disk: true, trouble: powerCut{}},
	{name: "power_cut_agents", on: hub, track: "processes", most: 2 * time.Second, disk: true, trouble: powerCut{}},
	{name: "full_disk_cloud", on: core[:1], track: "processes", most: 8 * time.Second, disk: true, trouble: fullDisk{}},
	{name: "full_disk_agents", on: hub, track: "processes", most: 8 * time.Second, disk: true, trouble: fullDisk{}},

	{name: "loss_20_percent", on: core, track: "core network", most: 20 * time.Second, trouble: weather("lossy")},
	{name: "blackhole", on: core, track: "core network", most: 15 * time.Second, trouble: weather("dark")},
	{name: "partition", on: core, track: "core network", most: time.Minute, exact: true, trouble: weather("dark")},
	{name: "reset", on: core, track: "core network", most: time.Second, trouble: weather("refused")},
	{name: "slow_link", on: core, track: "core network", most: 20 * time.Second, trouble: slowLink{}},

	{name: "loss_20_percent", on: hub, track: "home network", most: 20 * time.Second, trouble: weather("lossy")},
	{name: "blackhole", on: hub, track: "home network", most: 15 * time.Second, trouble: weather("dark")},
	{name: "partition", on: hub, track: "home network", most: time.Minute, exact: true, trouble: weather("dark")},
	{name: "reset", on: hub, track: "home network", most: time.Second, trouble: weather("refused")},
	{name: "slow_link", on: hub, track: "home network", most: 20 * time.Second, trouble: slowLink{}},

	{name: "clock_jump_cloud", on: core[:1], track: "clocks", most: 10 * time.Second, trouble: clockJump{}},
	{name: "clock_jump_agent", on: hub, track: "clocks", most: 30 * time.Second, trouble: clockJump{}},
}

// kill is kill -9 of a program.
type kill struct{}

func (kill) begin(l *lab, f fault) (func(context.Context) error, error) {
	m := l.machines[f.machine]
	m.kill()
	return m.boot, nil
}

// powerCut takes the power from a disk and from every machine that has it.
type powerCut struct{}

func (powerCut) begin(l *lab, f fault) (func(context.Context) error, error) {
	d := l.machines[f.machine].disk
	var on []*machine
	for _, m := range l.machines {
		if m.disk == d {
			on = append(on, m)
		}
	}
	for _, m := range on {
		m.doom() // what it does from the cut to its end is nobody's fault
	}
	if err := d.cut(); err != nil {
		return nil, err
	}
	for _, m := range on {
		m.kill()
	}
	return func(ctx context.Context) error {
		if err := d.restore(); err != nil {
			return err
		}
		return bootAll(ctx, on)
	}, nil
}

func bootAll(ctx context.Context, machines []*machine) error {
	errs := make(chan error, len(machines))
	var wg sync.WaitGroup
	for _, m := range machines {
		wg.Go(func() {
			if err := m.boot(ctx); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// fullDisk leaves no room on a disk.
type fullDisk struct{}

func (fullDisk) begin(l *lab, f fault) (func(context.Context) error, error) {
	d := l.machines[f.machine].disk
	return func(context.Context) error { return d.free() }, d.fill()
}

// weather is what happens to packets from and to a machine on their way: it names a set of the street's.
type weather string

func (w weather) begin(l *lab, f fault) (func(context.Context) error, error) {
	m := l.machines[f.machine]
	do := func(verb string) error {
		return l.street.NFT(fmt.Sprintf("%s element ip weather %s { %s }\n", verb, w, m.addr))
	}
	return func(context.Context) error { return do("delete") }, do("add")
}

// slowLink makes a machine's link as slow as an old telephone line, both ways.
type slowLink struct{}

func (slowLink) begin(l *lab, f fault) (func(context.Context) error, error) {
	m := l.machines[f.machine]
	do := func(verb, limit string) error {
		up := m.host.TC("qdisc " + verb + " dev eth0 root" + limit + "\n")
		if down := l.street.TC("qdisc " + verb + " dev " + m.port + " root" + limit + "\n"); up == nil {
			return down
		}
		return up
	}
	return func(context.Context) error { return do("del", "") }, do("replace", " tbf rate 64kbit burst 4kb latency 800ms")
}

// clockJump sets a machine's wall clock, and sets it right again.
type clockJump struct{}

func (clockJump) begin(l *lab, f fault) (func(context.Context) error, error) {
	m := l.machines[f.machine]
	if m.role == cloudRole {
		l.cloudClockWrong()
	}
	return func(context.Context) error {
		err := m.setClock(0)
		if m.role == cloudRole {
			l.cloudClockRight()
		}
		return err
	}, m.setClock(f.jump)
}
