package home

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/firmware-bridge/bridgetest"
	"github.com/hearthline/hearthline/firmware-bridge/linux"
	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/hearthline/hearthline/protocol"
)

// inHub does something in the hub of a home, with the hub's driver: it brings a home up and runs the same
// test again in its hub.
func inHub(t *testing.T, do func(h *Home, d *linux.Driver)) {
	t.Helper()
	if dir := os.Getenv("HEARTH_TEST_HOME"); dir != "" {
		h, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		d := openLinux(t)
		defer d.Close()
		do(h, d)
		return
	}
	h := up(t, Options{})
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	err = h.Run(t.Context(), Command{
		Host: "hub", Argv: []string{exe, "-test.run", pattern, "-test.v", "-test.timeout", "90s"},
		Env: append(os.Environ(), "HEARTH_TEST_HOME="+h.Info().Dir), Stdout: out, Stderr: out,
	})
	text, readErr := os.ReadFile(out.Name())
	if err != nil || readErr != nil || !strings.Contains(string(text), "--- PASS: "+t.Name()) {
		t.Errorf("in the hub: %v\n%s", err, text)
	}
}

// fails makes a fault appear in the home.
func fails(t *testing.T, h *Home, f Fault) {
	t.Helper()
	if err := h.Fault(f, true); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, d *linux.Driver, c protocol.Check, holds bool, when string) {
	t.Helper()
	if ok, err := d.Check(t.Context(), c); err != nil || ok != holds {
		t.Errorf("%s the check gives %t, %v", when, ok, err)
	}
}

func openLinux(t *testing.T) *linux.Driver {
	t.Helper()
	opts := DriverOptions()
	opts.Services = map[string]linux.Service{"lamp": {
		Start: []string{"touch", "/run/lamp"}, Stop: []string{"rm", "-f", "/run/lamp"},
		Restart: []string{"touch", "/run/lamp"}, Status: []string{"test", "-e", "/run/lamp"},
	}}
	d, err := linux.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// hubState is what the actions may change, as the kernel and the files have it.
func hubState(t *testing.T) string {
	t.Helper()
	nl, err := rtnl.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer nl.Close()
	links, err1 := nl.Links()
	addrs, err2 := nl.Addrs()
	routes, err3 := nl.Routes()
	text, err4 := os.ReadFile("/etc/resolv.conf")
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var lines []string
	for _, l := range links {
		lines = append(lines, fmt.Sprintf("link %s up %t", l.Name, l.Up))
	}
	for _, a := range addrs {
		lines = append(lines, fmt.Sprintf("addr %d %s %s %q leased %t", a.Index, a.Prefix, a.Broadcast, a.Label, a.Valid >= 0))
	}
	for _, r := range routes {
		lines = append(lines, fmt.Sprintf("route %+v", r))
	}
	_, err = os.Stat("/run/lamp")
	lines = append(lines, fmt.Sprintf("lamp %t", err == nil))
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n" + string(text)
}

func TestTheLinuxDriverConforms(t *testing.T) {
	t.Parallel()
	inHub(t, func(*Home, *linux.Driver) {
		half, one, hundred, never := 0.5, 1.0, 100.0, -1.0
		bridgetest.Run(t, bridgetest.Config{
			New:   func(t *testing.T) bridge.Driver { return openLinux(t) },
			State: hubState,
			Actions: []bridgetest.Action{
				{Action: protocol.Action{Kind: linux.DNSSwitch, Args: map[string]string{"resolver": AltResolver}}, Changes: true},
				{Action: protocol.Action{Kind: linux.DHCPRenew, Target: HubInterface}},
				{Action: protocol.Action{Kind: linux.InterfaceBounce, Target: HubInterface}},
				{Action: protocol.Action{Kind: linux.UplinkFailover, Target: LTEInterface}, Changes: true},
				{Action: protocol.Action{Kind: linux.ServiceRestart, Target: "lamp"}, Changes: true},
			},
			BadActions: []bridgetest.BadAction{
				{Action: protocol.Action{Kind: linux.DNSSwitch, Args: map[string]string{"resolver": "6.6.6.6"}}, Says: "want 203.0.113.9, 192.168.50.1"},
				{Action: protocol.Action{Kind: linux.DNSSwitch, Args: map[string]string{"resolver": "192.168.50.1\nnameserver 6.6.6.6"}}, Says: "args.resolver"},
				{Action: protocol.Action{Kind: linux.DNSSwitch, Args: map[string]string{"file": "/etc/passwd"}}, Says: "args.file"},
				{Action: protocol.Action{Kind: linux.DHCPRenew, Target: "lo"}, Says: "want eth0, lte0"},
				{Action: protocol.Action{Kind: linux.InterfaceBounce, Target: "eth0; reboot"}, Says: "target"},
				{Action: protocol.Action{Kind: linux.UplinkFailover}, Says: "target"},
				{Action: protocol.Action{Kind: linux.ServiceRestart, Target: "sshd"}, Says: "want lamp"},
				{Action: protocol.Action{Kind: linux.NetworkRestore, Args: map[string]string{"state": `{"i":[]}`}}, Says: "args.state"},
				{Action: protocol.Action{Kind: linux.ServiceRestore, Target: "lamp", Args: map[string]string{"running": "maybe"}}, Says: "want true or false"},
			},
			Diagnoses: []protocol.DiagnosisRequest{
				{Kind: "connection"},
				{Kind: "ping"},
				{Kind: "ping", Target: WebName, Args: map[string]string{"count": "2"}},
				{Kind: "traceroute"},
				{Kind: "dns"},
				{Kind: "dns", Target: "no.such.test"},
				{Kind: "dhcp"},
				{Kind: "dhcp", Target: LTEInterface},
				{Kind: "http"},
				{Kind: "interface"},
				{Kind: "speed", Args: map[string]string{"seconds": "1"}},
			},
			BadDiagnoses: []bridgetest.BadDiagnosis{
				{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "ping", Target: "-f"}, Says: "target"},
				{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "ping", Target: "$(reboot)"}, Says: "target"},
				{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "ping", Args: map[string]string{"count": "1000"}}, Says: "want 1 to 50"},
				{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "http", Target: "file:///etc/shadow"}, Says: "target"},
				{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "http", Target: "http://localhost/"}, Says: "this device itself"},
				{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "interface", Target: "eth9"}, Says: "want eth0, lte0"},
				{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "wifi"}, Says: "no Wi-Fi"},
				{DiagnosisRequest: protocol.DiagnosisRequest{Kind: "speed", Args: map[string]string{"seconds": "x"}}, Says: "want 1 to 10"},
			},
			Holds: []protocol.Check{
				{Metric: "gateway.reachable", Min: &one},
				{Metric: "wan.loss_ratio", Max: &half},
				{Metric: "dns.failure_ratio", Max: &half},
				{Metric: "dns.latency_ms", Instance: AltResolver, Max: &hundred},
				{Metric: "iface.carrier", Instance: HubInterface, Min: &one},
			},
			Fails: []protocol.Check{{Metric: "wan.rtt_ms", Max: &never}, {Metric: "dns.active", Instance: AltResolver, Min: &one}},
		})
	})
}

func TestTheDiagnosisBlamesWhatIsBroken(t *testing.T) {
	for _, c := range []struct {
		fault   Fault
		segment protocol.Segment
		code    string
	}{
		{Fault{Kind: "loss", Value: 30}, protocol.SegmentISP, "uplink.loss"},
		{Fault{Kind: "lan-loss", Value: 30}, protocol.SegmentHome, "gateway.loss"}, // both ways: all ten pings lost, or none, in 1 of 1,000 runs each
		{Fault{Kind: "lan-loss", Value: 100}, protocol.SegmentHome, "gateway.unreachable"},
		{Fault{Kind: "dns-slow", Value: 1500}, protocol.SegmentHome, "resolver.slow"},
		{Fault{Kind: "dns-dead"}, protocol.SegmentHome, "resolver.dead"},
		{Fault{Kind: "uplink-down"}, protocol.SegmentISP, "uplink.down"},
		{Fault{Kind: "isp-down"}, protocol.SegmentISP, "uplink.down"},
		{Fault{Kind: "lan-down"}, protocol.SegmentHome, "interface.no.carrier"},
		{Fault{Kind: "cloud-down"}, protocol.SegmentCloud, "cloud.unreachable"},
	} {
		t.Run(strings.ReplaceAll(c.fault.String(), "=", " "), func(t *testing.T) {
			t.Parallel()
			inHub(t, func(h *Home, d *linux.Driver) {
				fails(t, h, c.fault)
				got, err := d.Diagnose(t.Context(), protocol.DiagnosisRequest{Kind: "connection"}, nil)
				if err != nil {
					t.Fatal(err)
				}
				if got.Verdict.Segment != c.segment || got.Verdict.Code != c.code {
					t.Errorf("the verdict is %+v, want %s %s", got.Verdict, c.segment, c.code)
					for _, s := range got.Steps {
						t.Logf("%+v", s)
					}
				}
			})
		})
	}
}

func TestADeadDHCPServerIsFoundAndARenewalSaysSo(t *testing.T) {
	t.Parallel()
	inHub(t, func(h *Home, d *linux.Driver) {
		renew := protocol.Action{Kind: linux.DHCPRenew, Target: HubInterface}
		time.Sleep(1100 * time.Millisecond) // the age of a lease is counted in hundredths, but its life in seconds
		age := func() float64 {
			s, err := d.Sample(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s.Get("dhcp.lease_age_s", HubInterface)
		}
		before := age()
		if err := d.Apply(t.Context(), renew); err != nil {
			t.Fatal(err)
		}
		if after := age(); !(after < before) || !(after < 1) {
			t.Errorf("the renewal made a lease of %g s one of %g s", before, after)
		}
		fails(t, h, Fault{Kind: "dhcp-gone"})
		got, err := d.Diagnose(t.Context(), protocol.DiagnosisRequest{Kind: "dhcp", Target: HubInterface}, nil)
		if err != nil || got.Verdict.Code != "dhcp.server.gone" || got.Verdict.Segment != protocol.SegmentHome {
			t.Errorf("the verdict is %+v, %v", got.Verdict, err)
		}
		state := hubState(t)
		if err := d.Apply(t.Context(), renew); err == nil || !strings.Contains(err.Error(), linux.ErrNoServer.Error()) {
			t.Errorf("a renewal without a server: %v", err)
		}
		if now := hubState(t); now != state {
			t.Errorf("the renewal that failed changed\n%s\nto\n%s", state, now)
		}
	})
}

func TestASlowResolverShowsIsReplacedAndComesBackWithTheUndo(t *testing.T) {
	t.Parallel()
	inHub(t, func(h *Home, d *linux.Driver) {
		fails(t, h, Fault{Kind: "dns-slow", Value: 1000})
		worst := 0.0
		for range 4 {
			s, err := d.Sample(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			worst = max(worst, s.Get("dns.latency_ms", GatewayAddr))
			time.Sleep(100 * time.Millisecond)
		}
		if worst < 200 {
			t.Errorf("the slow resolver's latency shows as %g ms", worst)
		}
		limit := 100.0
		check := protocol.Check{Metric: "dns.latency_ms", Max: &limit}
		fix := protocol.Action{Kind: linux.DNSSwitch, Args: map[string]string{"resolver": AltResolver}}
		undo, err := d.Undo(t.Context(), fix)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, d, check, false, "before the fix")
		if err := d.Apply(t.Context(), fix); err != nil {
			t.Fatal(err)
		}
		expect(t, d, check, true, "after the fix")
		s, err := d.Sample(t.Context())
		if err != nil || s.Get("dns.active", AltResolver) != 1 {
			t.Errorf("after the fix the other resolver is not in use: %v", err)
		}
		if err := d.Apply(t.Context(), undo); err != nil {
			t.Fatal(err)
		}
		expect(t, d, check, false, "after the undo")
	})
}

func TestFailOverLeadsAroundADeadUplink(t *testing.T) {
	t.Parallel()
	inHub(t, func(h *Home, d *linux.Driver) {
		fails(t, h, Fault{Kind: "uplink-down"})
		limit := 0.1
		check := protocol.Check{Metric: "wan.loss_ratio", Max: &limit}
		expect(t, d, check, false, "over the dead uplink")
		fix := protocol.Action{Kind: linux.UplinkFailover, Target: LTEInterface}
		if err := d.Apply(t.Context(), fix); err != nil {
			t.Fatal(err)
		}
		expect(t, d, check, true, "over the second uplink")
		got, err := d.Diagnose(t.Context(), protocol.DiagnosisRequest{Kind: "traceroute", Target: ProbeAddr}, nil)
		if err != nil || len(got.Steps) < 2 || got.Steps[0].Target != LTEGatewayAddr {
			t.Errorf("the way leads over %+v, %v; want first %s", got.Steps, err, LTEGatewayAddr)
		}
	})
}

func TestACloudThatStopsAnsweringIsTheCloudsFaultOverCableAndRelay(t *testing.T) {
	for _, userNS := range []bool{false, true} {
		t.Run(fmt.Sprintf("user namespace %t", userNS), func(t *testing.T) {
			t.Parallel()
			cloud := httptest.NewUnstartedServer(http.NotFoundHandler())
			own := cloud.Listener
			port := own.Addr().(*net.TCPAddr).Port // free on the loopback, and so on the home's cable
			own.Close()
			h := up(t, Options{UserNS: userNS, CloudPorts: []int{port}})
			ln, err := net.Listen("tcp4", fmt.Sprintf("%s:%d", h.Info().CloudListen, port))
			if err != nil {
				t.Fatal(err)
			}
			cloud.Listener = ln
			cloud.StartTLS()
			diagnose := []string{"diagnose", "--cloud", fmt.Sprintf("%s:%d", CloudName, port), "connection"}
			defer cloud.Close()
			if out, err := run(t, h, "hub", diagnose...); err != nil || !strings.Contains(out, "none: all.well") {
				t.Errorf("with the cloud up: %v\n%s", err, out)
			}
			cloud.Close()
			if out, err := run(t, h, "hub", diagnose...); err != nil || !strings.Contains(out, "cloud: cloud.unreachable") {
				t.Errorf("with the cloud gone: %v\n%s", err, out)
			}
		})
	}
}

func TestWithoutThePermissionToPingTheNeighbourTableTells(t *testing.T) {
	t.Parallel()
	h := up(t, Options{})
	out, err := run(t, h, "hub", "gateway")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if want := "reachable 1 rtt NaN loss NaN"; err != nil || lines[len(lines)-1] != want {
		t.Errorf("got %v\n%s\nwant %s at last", err, out, want)
	}
}

// A router that drops or refuses pings is no router that is gone.
func TestARouterThatWantsNoPingsIsReachable(t *testing.T) {
	t.Parallel()
	for verdict, loss := range map[string]string{"drop": "NaN", "reject": "0"} {
		t.Run(verdict, func(t *testing.T) {
			t.Parallel()
			inHub(t, func(h *Home, d *linux.Driver) {
				err := h.Run(t.Context(), Command{Host: "router", Argv: []string{
					"nft",
					"add table ip pings; add chain ip pings in { type filter hook input priority -10; }; add rule ip pings in icmp type echo-request " + verdict,
				}})
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					s, err := d.Sample(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					reachable, rtt := s.Get("gateway.reachable", ""), s.Get("gateway.rtt_ms", "")
					lost := fmt.Sprint(s.Get("gateway.loss_ratio", ""))
					if reachable != 1 || lost != loss || math.IsNaN(rtt) != (verdict == "drop") {
						t.Errorf("reachable %g, rtt %g, loss %s", reachable, rtt, lost)
					}
					time.Sleep(600 * time.Millisecond)
				}
			})
		})
	}
}

func TestALuckyAnswerOnALossyLineIsNoProofThatAResolverIsFast(t *testing.T) {
	t.Parallel()
	inHub(t, func(h *Home, d *linux.Driver) {
		fails(t, h, Fault{Kind: "loss", Value: 40})
		limit, passed := 150.0, 0
		for range 5 {
			ok, err := d.Check(t.Context(), protocol.Check{Metric: "dns.latency_ms", Instance: AltResolver, Max: &limit})
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				passed++
			}
		}
		// Of a hundred queries 36 are answered: five in a row in one of 165 checks.
		if passed > 1 {
			t.Errorf("%d of 5 checks passed over a line that loses most queries", passed)
		}
	})
}
