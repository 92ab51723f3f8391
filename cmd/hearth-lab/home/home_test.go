package home

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cmd/hearth-lab/netns"
	"github.com/hearthline/hearthline/firmware-bridge/linux"
)

// TestMain lets the test binary play the other programs: the keeper, and what the tests run in hosts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "keeper" {
		if err := Keeper(context.Background(), os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "home" { // as hearth-lab
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		if err := Run(ctx, os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "play" {
		if err := plays[os.Args[2]](os.Args[3:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	// Homes wait for answers and timeouts most of the time: more of them than processors is right.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

var plays = map[string]func(args []string) error{
	"get": func(args []string) error {
		c := http.Client{Timeout: 3 * time.Second}
		r, err := c.Get(args[0])
		if err != nil {
			return err
		}
		defer r.Body.Close()
		_, err = io.Copy(os.Stdout, r.Body)
		return err
	},
	"up-where-refused": func(args []string) error {
		if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
			return err
		}
		_, err := Up(context.Background(), Options{Dir: args[0], UserNS: true, Keeper: append(self(), "keeper")})
		if !errors.Is(err, ErrRefused) {
			return fmt.Errorf("Up returned %w, want ErrRefused", err)
		}
		fmt.Println(err)
		return nil
	},
	"up-and-info": func(args []string) error {
		h, err := Up(context.Background(), Options{Dir: args[0], Keeper: append(self(), "keeper")})
		if err != nil {
			return err
		}
		defer h.Close()
		fmt.Println("cloud at", h.Info().CloudListen)
		return nil
	},
	"diagnose": func(args []string) error { return runDiagnose(context.Background(), args) },
	"gateway": func([]string) error { // what a driver sees that may not ping
		cmd := exec.Command("/proc/self/exe", "play", "sample-gateway")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd.Run()
	},
	"sample-gateway": func([]string) error {
		d, err := linux.New(DriverOptions())
		if err != nil {
			return err
		}
		defer d.Close()
		for range 2 { // the first query to the gateway's resolver makes it a neighbour
			s, err := d.Sample(context.Background())
			if err != nil {
				return err
			}
			fmt.Printf("reachable %g rtt %g loss %g\n", s.Get("gateway.reachable", ""), s.Get("gateway.rtt_ms", ""), s.Get("gateway.loss_ratio", ""))
		}
		return nil
	},
	"sleep": func([]string) error {
		fmt.Println("asleep")
		select {}
	},
}

func self() []string { return []string{"/proc/self/exe"} }

// tempDir is short: a socket's name has at most 108 bytes.
func tempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "home")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func up(t *testing.T, opts Options) *Home {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = tempDir(t)
	}
	opts.Keeper = append(self(), "keeper")
	h, err := Up(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// run runs the test binary as one of the plays in a host and returns what it printed.
func run(t *testing.T, h *Home, host string, args ...string) (string, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Start(Command{Host: host, Argv: append([]string{exe, "play"}, args...), Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out), p.Wait()
}

func TestTheHubReachesTheInternetAndTheCloudByName(t *testing.T) {
	for _, userNS := range []bool{false, true} {
		t.Run(fmt.Sprintf("user namespace %t", userNS), func(t *testing.T) {
			resolver, err := os.ReadFile("/etc/resolv.conf")
			if err != nil {
				t.Fatal(err)
			}
			// A free port, as the cloud's.
			probe, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			port := probe.Addr().(*net.TCPAddr).Port
			probe.Close()
			h := up(t, Options{UserNS: userNS, CloudPorts: []int{port}})
			ln, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", h.Info().CloudListen, port))
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the cloud as "+r.Host) }))

			if out, err := run(t, h, "hub", "get", "http://"+WebName+"/"); err != nil || out != "a web server on the internet\n" {
				t.Errorf("the hub got %q, %v from the internet", out, err)
			}
			cloud := fmt.Sprintf("%s:%d", CloudName, port)
			if out, err := run(t, h, "hub", "get", "http://"+cloud); err != nil || out != "the cloud as "+cloud {
				t.Errorf("the hub got %q, %v from the cloud", out, err)
			}
			if err := h.Fault(Fault{Kind: "cloud-down"}, true); err != nil {
				t.Fatal(err)
			}
			if out, err := run(t, h, "hub", "get", "http://"+cloud); err == nil {
				t.Errorf("the hub got %q from a cloud that is down", out)
			}
			after, err := os.ReadFile("/etc/resolv.conf")
			if err != nil || !bytes.Equal(resolver, after) {
				t.Errorf("the machine's resolv.conf became %q, %v", after, err)
			}
		})
	}
}

func TestAHomeLeavesNothingBehind(t *testing.T) {
	for _, end := range []string{"close", "kill -9"} {
		t.Run(end, func(t *testing.T) {
			before := interfaces(t)
			h := up(t, Options{})
			p, err := h.Start(Command{Host: "hub", Argv: []string{"/proc/self/exe", "play", "sleep"}})
			if err != nil {
				// /proc/self/exe is the keeper's own program, which is the test binary as well.
				t.Fatal(err)
			}
			if p.PID() == 0 {
				t.Error("the process's number outside was not found")
			}
			if len(interfaces(t)) != len(before)+1 {
				t.Errorf("interfaces went from %v to %v, want one more", before, interfaces(t))
			}
			if end == "close" {
				if err := h.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				if err := syscall.Kill(h.Info().KeeperPID, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				<-h.Done()
			}
			if err := p.Wait(); err == nil {
				t.Error("the process in the hub outlived the home")
			}
			// After kill -9 the kernel takes the network apart in its own time.
			for end := time.Now().Add(10 * time.Second); len(interfaces(t)) != len(before) && time.Now().Before(end); {
				time.Sleep(10 * time.Millisecond)
			}
			if after := interfaces(t); len(after) != len(before) {
				t.Errorf("interfaces went from %v to %v", before, after)
			}
			if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("process %d: %v, want none", p.PID(), err)
			}
			if _, err := Open(h.Info().Dir); !errors.Is(err, ErrDown) {
				t.Errorf("Open: %v, want ErrDown", err)
			}
			up(t, Options{Dir: h.Info().Dir}) // and the folder can be used again
		})
	}
}

func interfaces(t *testing.T) (names []string) {
	t.Helper()
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		names = append(names, i.Name)
	}
	return names
}

func TestTwoHomesLiveSideBySideButNotInOneFolder(t *testing.T) {
	a := up(t, Options{})
	b := up(t, Options{})
	if a.Info().CloudListen == b.Info().CloudListen {
		t.Errorf("both homes have the cloud at %s", a.Info().CloudListen)
	}
	if _, err := Up(t.Context(), Options{Dir: a.Info().Dir, Keeper: append(self(), "keeper")}); !errors.Is(err, ErrRunning) {
		t.Errorf("a second home in the same folder: %v, want ErrRunning", err)
	}
	if err := a.Fault(Fault{Kind: "isp-down"}, true); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, b, "hub", "get", "http://"+WebAddr+"/"); err != nil {
		t.Errorf("a fault of one home reached the other: %q, %v", out, err)
	}
}

func TestAnotherProcessSteersTheHome(t *testing.T) {
	h := up(t, Options{})
	other, err := Open(h.Info().Dir)
	if err != nil {
		t.Fatal(err)
	}
	if other.Info().KeeperPID != h.Info().KeeperPID {
		t.Errorf("keeper is %d from outside, %d from inside", other.Info().KeeperPID, h.Info().KeeperPID)
	}
	if err := other.Fault(Fault{Kind: "loss", Value: 12.5}, true); err != nil {
		t.Fatal(err)
	}
	if on, err := h.Faults(); err != nil || len(on) != 1 || on[0] != (Fault{Kind: "loss", Value: 12.5}) {
		t.Errorf("faults on: %v, %v", on, err)
	}
	p, err := other.Start(Command{Host: "hub", Argv: []string{"/proc/self/exe", "play", "sleep"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var exit *ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		t.Errorf("the killed process ended with %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	<-h.Done()
}

func TestMistakesAreNamed(t *testing.T) {
	h := up(t, Options{})
	_, startErr := h.Start(Command{Host: "attic", Argv: []string{"true"}})
	_, noProgram := h.Start(Command{Host: "hub", Argv: []string{"no-such-program"}})
	_, longErr := Up(t.Context(), Options{Dir: "/tmp/" + strings.Repeat("x", 100)})
	_, emptyErr := Up(t.Context(), Options{})
	_, portErr := parsePorts("80,0")
	for _, c := range []struct {
		err  error
		want string
	}{
		{h.Fault(Fault{Kind: "gremlins"}, true), `"gremlins" is unknown: want one of loss, lan-loss`},
		{h.Fault(Fault{Kind: "loss", Value: 101}, true), "out of range: want 1 to 100 %"},
		{h.Fault(Fault{Kind: "dns-dead", Value: 3}, true), "takes no value"},
		{startErr, `host "attic" is unknown: want one of hub`},
		{noProgram, "no-such-program"},
		{longErr, "too long"},
		{emptyErr, "Dir is required"},
		{portErr, `"0" is no port: want 1 to 65535`},
		{Run(t.Context(), []string{"down", "--dir", filepath.Join(tempDir(t), "none")}), "no home is up"},
		{Run(t.Context(), []string{"fault", "--dir", h.Info().Dir, "loss", "maybe"}), "want KIND[=VALUE] on|off"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("got error %v, want one with %q", c.err, c.want)
		}
	}
}

func TestWhereNamespacesAreRefusedTheErrorSaysSo(t *testing.T) {
	// The limit is set in a user namespace of its own, where it is that namespace's, not the machine's.
	cmd := exec.Command("/proc/self/exe", "play", "up-where-refused", tempDir(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "namespaces refused") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestRootInAContainerReachesTheCloudByRelay(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "play", "up-and-info", tempDir(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "cloud at 127.0.0.1") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestMissingProgramsAreNamedWithTheirPackages(t *testing.T) {
	if err := findPrograms(netns.Program); err != nil {
		t.Errorf("with everything installed: %v", err)
	}
	err := findPrograms(func(name string) (string, error) { return "", os.ErrNotExist })
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("with nothing installed: %v", err)
	}
	if got, want := err.Error(), "missing programs [ip tc nft dnsmasq]: install the Debian packages [iproute2 nftables dnsmasq-base]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
