package home

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

const usage = `usage: hearth-lab home COMMAND [flags]

  up     [--dir D] [--cloud-ports P,P] [--userns] [--no-lease] [-- CMD...]
         builds a home and runs CMD in the hub, or waits for Ctrl-C; the home ends with it
  exec   [--dir D] HOST -- CMD...     runs CMD in hub, router, lte, isp or wan
  fault  [--dir D] KIND[=VALUE] on|off
  faults [--dir D]                    lists all kinds and which are on
  info   [--dir D]                    prints the addresses
  down   [--dir D]
  record [--dir D] [--minutes M] [--seed S] [--out trace.csv] [--faults faults.csv]
         records what the Linux driver sees every second while faults come and go
  watch  [--interval 1s] [--count N]  in the hub: samples with the Linux driver, prints CSV
  diagnose [--cloud HOST:PORT] KIND [TARGET] [ARG=VALUE]
                                      in the hub: ping, traceroute, dns, dhcp, http, interface, wifi, speed, connection
  busy   [--seed S]                   in the hub: fetches pages, so that the line is in use

The default folder is hearth-home below the system's folder for temporary files.
`

// Run is the command line of this package: hearth-lab home.
func Run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errors.New("a command is needed")
	}
	name, args := args[0], args[1:]
	switch name {
	case "help", "-h", "--help":
		fmt.Fprint(os.Stderr, usage)
		return nil
	case "keeper":
		return Keeper(ctx, args)
	case "watch":
		return runWatch(ctx, args)
	case "diagnose":
		return runDiagnose(ctx, args)
	case "busy":
		return runBusy(ctx, args)
	case "record":
		return runRecord(ctx, args)
	}
	fs := flag.NewFlagSet("home "+name, flag.ContinueOnError)
	fs.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	dir := fs.String("dir", os.TempDir()+"/hearth-home", "folder of the home")
	args, tail := splitTail(args)
	var up Options
	ports := ""
	switch name {
	case "up":
		fs.StringVar(&ports, "cloud-ports", "", "TCP and UDP ports of the cloud, comma separated")
		fs.BoolVar(&up.UserNS, "userns", false, "use a user namespace also when root")
		fs.BoolVar(&up.NoLease, "no-lease", false, "leave the hub without a DHCP lease")
	case "exec", "fault", "faults", "info", "down":
	default:
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("unknown command %q", name)
	}
	rest, err := parseMixed(fs, args)
	if err != nil {
		return err
	}
	if name == "up" {
		if up.CloudPorts, err = parsePorts(ports); err != nil {
			return err
		}
		if len(rest) > 0 {
			return fmt.Errorf("up: unexpected %q: put the hub's command after --", rest[0])
		}
		up.Dir = *dir
		return runUp(ctx, up, tail)
	}
	h, err := Open(*dir)
	if err != nil {
		return err
	}
	switch name {
	case "exec":
		if len(rest) != 1 || len(tail) == 0 {
			return errors.New("exec: want HOST -- CMD")
		}
		return runIn(ctx, h, rest[0], tail)
	case "fault":
		return runFault(h, rest)
	case "faults":
		return printFaults(h)
	case "info":
		i := h.Info()
		fmt.Printf("dir %s\nkeeper_pid %d\nuser_namespace %t\ncloud_listen %s\ncloud_ports %v\ncloud %s %s\n",
			i.Dir, i.KeeperPID, i.UserNS, i.CloudListen, i.CloudPorts, CloudName, CloudAddr)
		return nil
	}
	return h.Close()
}

func splitTail(args []string) (head, tail []string) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i], args[i+1:]
	}
	return args, nil
}

// parseMixed lets flags stand before, between and after the other arguments.
func parseMixed(fs *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return rest, nil
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
}

func parsePorts(s string) (ports []int, err error) {
	for f := range strings.SplitSeq(s, ",") {
		if f == "" {
			continue
		}
		p, err := strconv.Atoi(f)
		if err != nil || p < 1 || p > 65535 {
			return nil, fmt.Errorf("--cloud-ports: %q is no port: want 1 to 65535", f)
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func runUp(ctx context.Context, opts Options, argv []string) error {
	h, err := Up(ctx, opts)
	if err != nil {
		return err
	}
	defer h.Close()
	i := h.Info()
	fmt.Fprintf(os.Stderr, "home is up in %s; the cloud listens on %s and is %s (%s) in the home\n", i.Dir, i.CloudListen, CloudName, CloudAddr)
	if len(argv) > 0 {
		return runIn(ctx, h, "hub", argv)
	}
	select {
	case <-ctx.Done():
	case <-h.Done():
	}
	return nil
}

// runIn runs a command with our own standard files, passes signals on, and ends as it ends.
func runIn(ctx context.Context, h *Home, host string, argv []string) error {
	p, err := h.Start(Command{Host: host, Argv: argv, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	select {
	case <-p.Done():
	case <-ctx.Done():
		_ = p.Signal(syscall.SIGTERM)
	case <-hup:
		_ = p.Signal(syscall.SIGHUP)
	}
	return p.Wait()
}

func runFault(h *Home, args []string) error {
	if len(args) != 2 || args[1] != "on" && args[1] != "off" {
		return errors.New("fault: want KIND[=VALUE] on|off")
	}
	f, err := ParseFault(args[0])
	if err != nil {
		return err
	}
	return h.Fault(f, args[1] == "on")
}

// ParseFault reads kind or kind=value.
func ParseFault(s string) (Fault, error) {
	kind, value, has := strings.Cut(s, "=")
	f := Fault{Kind: kind}
	if has {
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return Fault{}, fmt.Errorf("fault %s: value %q is no number", kind, value)
		}
		f.Value = v
		if v == 0 {
			return Fault{}, fmt.Errorf("fault %s: value 0 is no fault", kind)
		}
	}
	return f, f.validate()
}

func printFaults(h *Home) error {
	active, err := h.Faults()
	if err != nil {
		return err
	}
	for _, k := range Kinds {
		state := "off"
		if i := slices.IndexFunc(active, func(f Fault) bool { return f.Kind == k.Name }); i >= 0 {
			state = "on"
			if v := active[i].Value; v != 0 {
				state = fmt.Sprintf("on %g %s", v, k.Unit)
			}
		}
		fmt.Printf("%-12s %-14s %s\n", k.Name, state, k.About)
	}
	return nil
}
