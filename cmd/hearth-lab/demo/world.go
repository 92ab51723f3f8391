package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hearthline/hearthline/cmd/hearth-lab/home"
	"github.com/hearthline/hearthline/cmd/hearth-lab/person"
)

// world is everything that the demo runs.
type world struct {
	dir, bin string
	service  *service
	home     *home.Home // nil when the machine lets nobody build one
	hub      hub
	fleet    *crowd
	admin    *person.Person
	customer *person.Person

	password, inbox string
	answer          string    // the customer's answer to a remote session
	began           time.Time // when the fleet was there
}

// build starts everything and returns when the hub and the replayed homes report.
func build(ctx context.Context, o options, out io.Writer) (_ *world, err error) {
	began := time.Now()
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "   %5.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.data)
	if err != nil {
		return nil, err
	}
	w := &world{dir: dir, bin: filepath.Dir(self), answer: "given"}
	if o.refuse {
		w.answer = "refused"
	}
	if err := emptyFolder(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.service, err = newService(dir, w.bin); err != nil {
		return nil, err
	}
	listen := ""
	err = errors.New("as asked by --replayed")
	if !o.replayed {
		w.home, err = home.Up(ctx, home.Options{Dir: filepath.Join(dir, "home"), CloudPorts: []int{w.service.mqttPort, w.service.enrolPort, w.service.turnPort}})
	}
	switch {
	case o.replayed || errors.Is(err, home.ErrRefused):
		w.home = nil
		say("no home of network namespaces (%v): the same story is told on a replayed one", err)
	case err != nil:
		return nil, err
	default:
		listen = w.home.Info().CloudListen
		say("a home of network namespaces is up: hub, router, second uplink, provider, internet")
	}
	if err := w.service.configure(filepath.Join(dir, "cloud.json"), listen); err != nil {
		return nil, err
	}
	if err := signPlans(ctx, w.bin, dir, w.service.dir); err != nil {
		return nil, err
	}
	if err := w.service.start(ctx); err != nil {
		return nil, err
	}
	say("the cloud runs; four plans are signed with a key that it does not hold")
	if err := w.people(ctx, o, say); err != nil {
		return nil, err
	}
	return w, nil
}

// people moves everybody in and starts their devices.
func (w *world) people(ctx context.Context, o options, say func(string, ...any)) (err error) {
	if w.password, err = w.service.password(); err != nil {
		return err
	}
	if w.admin, err = person.New(w.service.url()); err != nil {
		return err
	}
	if err := w.admin.SignIn(ctx, "admin", w.password); err != nil {
		return err
	}
	token, err := moveIn(ctx, w.admin, mainResident)
	if err != nil {
		return err
	}
	if err := w.openInbox(ctx); err != nil {
		return err
	}
	if w.home != nil {
		w.hub, err = newRealHub(w.home, w.dir, w.bin, token, w.service)
	} else {
		w.hub, err = newReplayedHub(ctx, w, token, o.seed)
	}
	if err != nil {
		return err
	}
	if err := w.hub.start(); err != nil {
		return err
	}
	if w.home != nil {
		say("the agent runs on the hub: a sample every second, and a recorded baseline to start from")
	}
	if w.fleet, err = startCrowd(ctx, w, o.homes, o.seed); err != nil {
		return err
	}
	w.began = time.Now()
	say("%d replayed homes report", o.homes)
	return nil
}

// openInbox signs the customer in by the link that an app would hold.
func (w *world) openInbox(ctx context.Context) (err error) {
	var link struct {
		Token string `json:"token"`
		Path  string `json:"path"`
	}
	if err := w.admin.Post(ctx, "/v1/customers/"+customerID+"/inbox-link", nil, &link); err != nil {
		return err
	}
	w.inbox = w.service.url() + link.Path
	if w.customer, err = person.New(w.service.url()); err != nil {
		return err
	}
	return w.customer.OpenInbox(ctx, link.Token)
}

// browse drives the console and the inbox with a real browser, and passes on what it saw.
func (w *world) browse(ctx context.Context, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "cloud/console/e2e/session.mjs")
	cmd.Env = append(os.Environ(),
		"HEARTH_URL="+w.service.url(), "HEARTH_STAFF=admin", "HEARTH_PASSWORD="+w.password,
		"HEARTH_PHONE="+callerPhone, "HEARTH_INBOX="+w.inbox, "HEARTH_SHOTS="+w.dir, "HEARTH_ANSWER="+w.answer)
	cmd.Stderr = cmd.Stdout
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	last := ""
	for lines := bufio.NewScanner(pipe); lines.Scan(); {
		last = lines.Text()
		fmt.Fprintf(out, "            browser: %s\n", last)
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", last, err)
	}
	return nil
}

// invite prints where to look.
func (w *world) invite(out io.Writer) {
	fmt.Fprintf(out, `
   console         %s        sign in as admin with %s
   customer inbox  %s
   caller to find  %s (%s)
`, w.service.url(), w.password, w.inbox, callerPhone, mainResident.name)
	if w.home != nil {
		fault := fmt.Sprintf("%s home fault --dir %s", filepath.Join(w.bin, "hearth-lab"), filepath.Join(w.dir, "home"))
		fmt.Fprintf(out, `
   Make something go wrong in the home, and watch:
     %s dns-slow=900 on      the resolver slows down: predicted, fixed, told
     %s loss=15 on           the line loses packets: no fix helps, a ticket is opened
`, fault, fault)
	}
	fmt.Fprintf(out, "\n   Everything is kept in %s. Ctrl-C ends it all.\n", w.dir)
}

// close ends everything, the devices first.
func (w *world) close() {
	if w.hub != nil {
		w.hub.stop()
	}
	if w.fleet != nil {
		w.fleet.stop()
	}
	if w.service != nil {
		w.service.stop()
	}
	if w.home != nil {
		w.home.Close()
	}
}

// emptyFolder makes dir, empty. A folder that holds anything but a former demo is refused.
func emptyFolder(dir string) error {
	const mark = "hearthline-demo"
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		if _, err := os.Stat(filepath.Join(dir, mark)); err != nil {
			return fmt.Errorf("--data %s: the folder holds something else", dir)
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("--data %s: %w", dir, err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("--data %s: %w", dir, err)
	}
	return os.WriteFile(filepath.Join(dir, mark), nil, 0o600)
}
