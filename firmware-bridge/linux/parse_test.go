package linux

import (
	"bytes"
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

func TestDHCPMessagesMeanTheSameToALibrary(t *testing.T) {
	m := dhcpMessage{
		kind: dhcpRequest, xid: 0xdeadbeef, hardware: [6]byte{2, 0, 0, 0, 0, 7},
		requested: netip.MustParseAddr("192.168.50.100"), server: netip.MustParseAddr("192.168.50.1"),
	}
	theirs, err := dhcpv4.FromBytes(m.encode())
	if err != nil {
		t.Fatal(err)
	}
	if theirs.MessageType() != dhcpv4.MessageTypeRequest || !theirs.IsBroadcast() || theirs.ClientHWAddr.String() != "02:00:00:00:00:07" ||
		theirs.RequestedIPAddress().String() != "192.168.50.100" || theirs.ServerIdentifier().String() != "192.168.50.1" ||
		binary.BigEndian.Uint32(theirs.TransactionID[:]) != m.xid || len(theirs.ParameterRequestList()) != 4 {
		t.Errorf("the library reads %s", theirs.Summary())
	}
	reply, err := dhcpv4.NewReplyFromRequest(theirs, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck),
		dhcpv4.WithYourIP(net.IPv4(192, 168, 50, 100)), dhcpv4.WithNetmask(net.CIDRMask(22, 32)),
		dhcpv4.WithRouter(net.IPv4(192, 168, 50, 1)), dhcpv4.WithDNS(net.IPv4(192, 168, 50, 1), net.IPv4(9, 9, 9, 9)),
		dhcpv4.WithLeaseTime(600), dhcpv4.WithServerIP(net.IPv4(192, 168, 50, 1)), dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.IPv4(192, 168, 50, 1))))
	if err != nil {
		t.Fatal(err)
	}
	got, ok := decodeDHCP(reply.ToBytes())
	if !ok || got.kind != dhcpAck || got.xid != m.xid || got.hardware != m.hardware {
		t.Fatalf("we read %+v, %t", got, ok)
	}
	l := leaseOf(got)
	if l.Addr.String() != "192.168.50.100/22" || l.Gateway.String() != "192.168.50.1" || l.Server.String() != "192.168.50.1" ||
		l.Duration != 10*time.Minute || len(l.Resolvers) != 2 || l.Resolvers[1].String() != "9.9.9.9" {
		t.Errorf("the lease is %+v", l)
	}
}

func FuzzDecodeDHCP(f *testing.F) {
	m := dhcpMessage{kind: dhcpDiscover}
	b := m.encode()
	b[0] = 2
	f.Add(b)
	f.Add(append(b[:dhcpHeader:dhcpHeader], 1, 4, 255, 255, 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := decodeDHCP(b)
		if ok && (m.kind == 0 || m.mask > 32 || len(m.resolvers) > maxResolvers) {
			t.Errorf("accepted %+v", m)
		}
		leaseOf(m)
	})
}

func FuzzParseAnswer(f *testing.F) {
	name := dnsmessage.MustNewName("a.test.")
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 7, Response: true})
	_ = b.StartQuestions()
	_ = b.Question(dnsmessage.Question{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET})
	_ = b.StartAnswers()
	_ = b.AResource(dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 1}, dnsmessage.AResource{A: [4]byte{1, 2, 3, 4}})
	good, err := b.Finish()
	if err != nil {
		f.Fatal(err)
	}
	if a, ok := parseAnswer(good, 7, name); !ok || len(a.addrs) != 1 || a.addrs[0].String() != "1.2.3.4" {
		f.Fatalf("a good answer reads as %+v, %t", a, ok)
	}
	if _, ok := parseAnswer(good, 8, name); ok {
		f.Fatal("an answer to another question is accepted")
	}
	if _, ok := parseAnswer(good, 7, dnsmessage.MustNewName("b.test.")); ok {
		f.Fatal("an answer about another name is accepted")
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := parseAnswer(b, 7, name); ok && len(a.addrs) > 32 {
			t.Errorf("%d addresses", len(a.addrs))
		}
	})
}

// nest is an attribute of attributes.
func nest(kind uint16, inner ...[]byte) []byte {
	return rtnl.AppendAttribute(nil, kind|unix.NLA_F_NESTED, bytes.Join(inner, nil))
}

func u32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func stationMessage() []byte {
	return append([]byte{unix.NL80211_CMD_NEW_STATION, 0, 0, 0}, nest(unix.NL80211_ATTR_STA_INFO,
		rtnl.AppendAttribute(nil, unix.NL80211_STA_INFO_SIGNAL, []byte{0xc4}), // -60
		rtnl.AppendAttribute(nil, unix.NL80211_STA_INFO_TX_RETRIES, u32(12)),
		nest(unix.NL80211_STA_INFO_TX_BITRATE,
			rtnl.AppendAttribute(nil, unix.NL80211_RATE_INFO_BITRATE, []byte{0, 0}),
			rtnl.AppendAttribute(nil, unix.NL80211_RATE_INFO_BITRATE32, u32(8667))),
	)...)
}

func accessMessage() []byte {
	return append([]byte{unix.NL80211_CMD_NEW_SCAN_RESULTS, 0, 0, 0}, nest(unix.NL80211_ATTR_BSS,
		rtnl.AppendAttribute(nil, unix.NL80211_BSS_FREQUENCY, u32(5180)),
		rtnl.AppendAttribute(nil, unix.NL80211_BSS_SIGNAL_MBM, u32(uint32(0xffffffff-7149))), // -71.50
		rtnl.AppendAttribute(nil, unix.NL80211_BSS_INFORMATION_ELEMENTS, []byte{0, 4, 'h', 'o', 'm', 'e', 1, 1, 2}),
	)...)
}

func TestWifiMessagesOfTheKernelAreRead(t *testing.T) {
	st, ok := parseStation(stationMessage())
	if !ok || st.rssi != -60 || st.retries != 12 || st.bitrate != 866.7 || !math.IsNaN(st.beaconLoss) {
		t.Errorf("the station reads as %+v, %t", st, ok)
	}
	a, ok := parseAccess(accessMessage())
	if !ok || a.ssid != "home" || a.mhz != 5180 || a.dbm != -71.5 || a.current {
		t.Errorf("the access point reads as %+v, %t", a, ok)
	}
}

func FuzzWifiMessages(f *testing.F) {
	f.Add(stationMessage())
	f.Add(accessMessage())
	f.Fuzz(func(_ *testing.T, b []byte) {
		parseStation(b)
		parseAccess(b)
	})
}

func TestResolversAreReadAndReplaced(t *testing.T) {
	const text = "# by hand\nsearch lan\nnameserver 192.168.1.1\nnameserver 192.168.1.1\nnameserver  9.9.9.9 \nnameserver nonsense\noptions ndots:2"
	if got := parseResolvers([]byte(text)); len(got) != 2 || got[0].String() != "192.168.1.1" || got[1].String() != "9.9.9.9" {
		t.Errorf("read %v", got)
	}
	to := netip.MustParseAddr("203.0.113.9")
	if got, want := string(switchTo([]byte(text), to)), "# by hand\nsearch lan\nnameserver 203.0.113.9\noptions ndots:2"; got != want {
		t.Errorf("replaced to %q, want %q", got, want)
	}
	if got, want := string(switchTo([]byte("options x"), to)), "options x\nnameserver 203.0.113.9\n"; got != want {
		t.Errorf("added to %q, want %q", got, want)
	}
}

func TestAReplacedFileKeepsItsModeAndItsLink(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := os.WriteFile(real, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(link, []byte("new")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(real)
	st, statErr := os.Stat(real)
	if err != nil || statErr != nil || string(got) != "new" || st.Mode().Perm() != 0o640 {
		t.Errorf("the file has %q and mode %v; %v, %v", got, st.Mode(), err, statErr)
	}
	if l, err := os.Lstat(link); err != nil || l.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link became a file: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".hearthline-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNamesThatCouldBeOptionsOrPathsAreRefused(t *testing.T) {
	for _, s := range []string{"", "-f", "a.-b", "a-.b", "a..b", "a b", "a/b", "$(x)", "a;b", "ä.test", "a\n", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 130)} {
		if checkName(s) == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	for _, s := range []string{"a", "example.com", "example.com.", "_srv.x-1.test", "192.168.1.1"} {
		if err := checkName(s); err != nil {
			t.Error(err)
		}
	}
}

func TestAStateToRestoreThatIsMalformedIsRefused(t *testing.T) {
	for _, s := range []string{"", "{", `{"i":[]}`, `{"i":[{"n":""}]}`, `{"i":[{"n":"a-name-of-17-byte"}]}`, `{"i":[{"n":"eth0","a":[{"p":"fe80::1/64"}]}]}`, `{"i":[{"n":"eth0","r":[{"d":""}]}]}`} {
		if _, err := parseState(s); err == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	for field, o := range map[string]Options{
		"Cloud":        {Cloud: "no-port"},
		"Probe":        {Probe: netip.MustParseAddr("::1")},
		"Alternatives": {Alternatives: []netip.Addr{{}}},
		"ProbeName":    {ProbeName: "-x"},
	} {
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("a bad %s: %v", field, err)
		}
	}
}

func FuzzResolverFile(f *testing.F) {
	f.Add([]byte("# made by dhcp\nsearch home\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n"))
	f.Add([]byte("nameserver"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(parseResolvers(b)) > maxResolvers {
			t.Error("more resolvers than the C library takes")
		}
		one := netip.MustParseAddr("192.0.2.9")
		if got := parseResolvers(switchTo(b, one)); len(got) != 1 || got[0] != one {
			t.Errorf("after the switch of %q: %v", b, got)
		}
	})
}

func FuzzParseState(f *testing.F) {
	f.Add(`{"interfaces":[{"name":"eth0","up":true,"addrs":[{"prefix":"192.0.2.7/24"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseState(text)
		if err == nil && len(s.Interfaces) == 0 {
			t.Error("a state of nothing is accepted")
		}
	})
}

func TestAProgramDoesNotInheritTheTimerSlackOfTheThreadThatStartsIt(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 10_000_000, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"grep", "-x", "50000", "/proc/self/timerslack_ns"}); err != nil {
		t.Error(err)
	}
}
