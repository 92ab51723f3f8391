package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hearthline/hearthline/cloud/gateway/ca"
	"github.com/hearthline/hearthline/cloud/gateway/external/mosquittotest"
	"github.com/hearthline/hearthline/cmd/hearth-lab/netns"
)

// lab is what runs.
type lab struct {
	*options
	root     string
	disks    map[role]*disk
	street   *netns.Host
	machines []*machine // the cloud, the broker if there is one, the hubs

	mu     sync.Mutex
	report Report
	wrong  []Span // when the cloud's clock was
	over   int64  // when the faults were, since boot
}

func (o *options) run(ctx context.Context) (_ Report, err error) {
	root := o.dir
	if root == "" {
		if root, err = os.MkdirTemp("", "hearth-lab-chaos-"); err != nil {
			return Report{}, err
		}
		defer os.RemoveAll(root)
	}
	// Everything but the end of faults has a limit of its own; what is left over dies with us.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &lab{options: o, root: root, disks: map[role]*disk{}, report: Report{
		Seed: o.seed, Minutes: o.minutes, Devices: o.devices, Broker: o.broker, Control: o.control, Faults: map[string]int{},
	}}
	for _, r := range []role{cloudRole, hubRole} {
		if l.disks[r], err = newDisk(root, string(r), 512); err != nil {
			l.report.Notes = append(l.report.Notes, err.Error())
		}
		defer l.disks[r].close()
	}
	defer l.kill()
	if err := l.build(); err != nil {
		return l.report, err
	}
	for _, m := range l.machines { // the cloud first: it makes the devices' homes
		if err := m.boot(ctx); err != nil {
			return l.report, err
		}
	}
	if err := l.storm(ctx); err != nil {
		return l.report, err
	}
	if err := l.calm(ctx); err != nil {
		return l.report, err
	}
	return l.report, l.judge(ctx)
}

// build makes the machines and says what runs on them.
func (l *lab) build() (err error) {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Agents need the authority to make their identities, and must not depend on the cloud's disk afterwards.
	of, copied := filepath.Join(l.disks[cloudRole].dir, "gateway"), filepath.Join(l.root, "authority")
	authority, err := ca.Open(ca.Options{Dir: of})
	if err != nil {
		return err
	}
	if err := os.CopyFS(copied, os.DirFS(of)); err != nil {
		return err
	}
	if l.street, err = newStreet(); err != nil {
		return err
	}
	cloud, err := l.add(cloudRole, "cloud", "ready", self, "chaos", "serve", "--dir", l.disks[cloudRole].dir,
		"--devices", strconv.Itoa(l.devices), "--lying="+strconv.FormatBool(l.control))
	if err != nil {
		return err
	}
	devices := cloud.addr.String() + ":8883"
	if l.broker == "mosquitto" {
		broker, err := l.add(brokerRole, "broker", "running", mosquittotest.Program(), "-c")
		if err != nil {
			return err
		}
		devices = broker.addr.String() + ":8883"
		inner := broker.addr.String() + ":8885"
		dir := filepath.Join(l.root, "mosquitto")
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		conf, err := mosquittotest.Configure(dir, authority, devices, inner)
		if err != nil {
			return err
		}
		broker.argv = append(broker.argv, conf)
		cloud.argv = append(cloud.argv, "--broker", "tls://"+inner)
	}
	cloud.argv = append(cloud.argv, "--mqtt", devices)
	for i := range l.devices {
		n := strconv.Itoa(i + 1)
		if _, err := l.add(hubRole, deviceID(i), "ready", self, "fleet", "--dir", filepath.Join(l.disks[hubRole].dir, "devices"),
			"--ca", copied, "--broker", devices, "--tenant", Tenant, "--prefix", Prefix, "--first", n, "--devices", "1", "--seed", n,
			"--interval", "1s", "--batch", "2s", "--spread", "1s", "--events", "1s", "--ledger", l.ledger()); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) add(r role, name, ready string, argv ...string) (*machine, error) {
	m, err := newMachine(l.street, len(l.machines)+1, r, name, l.disks[r])
	if err != nil {
		return nil, err
	}
	m.ready, m.argv, m.ended = ready, argv, l.crashed
	l.machines = append(l.machines, m)
	return m, nil
}

func (l *lab) crashed(m *machine, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Crashes = append(l.report.Crashes, fmt.Sprintf("%s: %v", m.name, err))
}

func (l *lab) kill() {
	for _, m := range slices.Backward(l.machines) {
		m.kill()
	}
}

func (l *lab) ledger() string { return filepath.Join(l.root, "ledger.jsonl") }

func (l *lab) say(format string, args ...any) {
	if !l.json {
		fmt.Fprintf(os.Stderr, time.Now().Format(time.TimeOnly)+"  "+format+"\n", args...)
	}
}

// storm lets what is scheduled happen.
func (l *lab) storm(ctx context.Context) error {
	roles := make([]role, len(l.machines))
	for i, m := range l.machines {
		roles[i] = m.role
	}
	plan, length := map[string][]fault{}, time.Duration(l.minutes*float64(time.Minute))
	if l.kills > 0 {
		plan["kills"], length = killings(l.seed, l.kills, roles), time.Duration(1<<62)
	} else {
		possible := slices.DeleteFunc(slices.Clone(faults), func(k kind) bool {
			return k.disk && (l.disks[cloudRole].image == "" || l.disks[hubRole].image == "")
		})
		plan = schedule(l.seed, length, possible, roles)
	}
	end := time.Now().Add(length)
	errs := make(chan error, len(plan))
	var wg sync.WaitGroup
	for track := range maps.Values(plan) {
		wg.Go(func() {
			for _, f := range track {
				if time.Now().Add(f.pause + f.hold).After(end) {
					return // curing took its time: what is left of the plan is left out
				}
				if err := l.inflict(ctx, f); err != nil {
					errs <- fmt.Errorf("%s: %w", f.kind.name, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// inflict makes one fault and ends it.
func (l *lab) inflict(ctx context.Context, f fault) error {
	if err := sleep(ctx, f.pause); err != nil {
		return err
	}
	l.say("%s", f)
	cure, err := f.kind.begin(l, f)
	if err != nil {
		return err
	}
	if err := errors.Join(sleep(ctx, f.hold), cure(ctx)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Faults[f.kind.name]++
	return nil
}

func (l *lab) cloudClockWrong() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, Span{From: sinceBoot(), To: 1 << 62})
}

func (l *lab) cloudClockRight() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong[len(l.wrong)-1].To = sinceBoot()
}

// patience is how long the fleet may take to deliver all it had: reconnecting backs off up to a minute, and
// what the cloud did not acknowledge is sent again after as long.
const patience = 3 * time.Minute

// calm waits until the fleet has been told of every event that it had recorded when the faults were over.
// Then everything stops.
func (l *lab) calm(ctx context.Context) error {
	l.say("calm")
	l.over = sinceBoot()
	start, wait := time.Now(), patience
	if l.control {
		wait = 10 * time.Second // what was lost is not waited for
	}
	for {
		book, err := readLedger(l.ledger())
		if err != nil {
			return err
		}
		if book.delivered(l.over) || time.Since(start) > wait {
			break // what is missing then, the judge finds
		}
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
	l.say("waited %s", time.Since(start).Round(time.Second))
	l.kill()
	return nil
}

func (l *lab) judge(ctx context.Context) error {
	db, err := openStore(l.disks[cloudRole].dir)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.Check(ctx); err != nil {
		return fmt.Errorf("the store after it all: %w", err)
	}
	l.report.Verdict, err = Audit{Ledger: l.ledger(), Devices: l.devices, Until: l.over, Wrong: l.wrong}.Judge(ctx, db)
	return err
}

// sinceBoot is the time of the ledger in milliseconds: the one clock here that nobody moves.
func sinceBoot() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return t.Nano() / 1e6
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
