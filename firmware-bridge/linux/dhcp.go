package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// ErrNoServer is returned when no DHCP server answered in time.
var ErrNoServer = errors.New("no DHCP server answered")

// Lease is what a DHCP server grants.
type Lease struct {
	Addr      netip.Prefix
	Gateway   netip.Addr // the zero Addr when none was given
	Resolvers []netip.Addr
	Server    netip.Addr
	Duration  time.Duration
	Answered  time.Duration // how long the server took for its first answer
}

// RequestLease asks for a lease on an interface, which need not have an address yet. It asks for the
// current address first when that is valid, as a rebooting client does (RFC 2131, 4.3.2), and for
// any when the server refuses or does not know it. It changes nothing on the interface.
func RequestLease(ctx context.Context, iface string, current netip.Addr) (Lease, error) {
	c, err := dialDHCP(iface)
	if err != nil {
		return Lease{}, err
	}
	defer c.conn.Close()
	var msg *dhcpv4.DHCPv4
	var first time.Duration
	if current.Is4() {
		keep, cancel := context.WithTimeout(ctx, 4*time.Second)
		msg, first, err = c.exchange(keep, "keep "+current.String(), dhcpv4.MessageTypeRequest,
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(current.AsSlice())))
		cancel()
		if err != nil && ctx.Err() != nil {
			return Lease{}, err
		}
	}
	if msg == nil || msg.MessageType() != dhcpv4.MessageTypeAck {
		var offer *dhcpv4.DHCPv4
		if offer, first, err = c.exchange(ctx, "discover", dhcpv4.MessageTypeDiscover); err != nil {
			return Lease{}, err
		}
		msg, _, err = c.exchange(ctx, "request "+offer.YourIPAddr.String(), dhcpv4.MessageTypeRequest,
			dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(offer.YourIPAddr)),
			dhcpv4.WithOption(dhcpv4.OptServerIdentifier(offer.ServerIdentifier())))
		if err != nil {
			return Lease{}, err
		}
		if msg.MessageType() != dhcpv4.MessageTypeAck {
			return Lease{}, fmt.Errorf("dhcp on %s: server %s refused %s", iface, offer.ServerIdentifier(), offer.YourIPAddr)
		}
	}
	l := leaseOf(msg)
	l.Answered = first
	if !l.Addr.IsValid() {
		return Lease{}, fmt.Errorf("dhcp on %s: the server's answer carries no address", iface)
	}
	return l, nil
}

// DiscoverLease asks what a DHCP server would grant, and takes nothing.
func DiscoverLease(ctx context.Context, iface string) (Lease, error) {
	c, err := dialDHCP(iface)
	if err != nil {
		return Lease{}, err
	}
	defer c.conn.Close()
	offer, took, err := c.exchange(ctx, "discover", dhcpv4.MessageTypeDiscover)
	if err != nil {
		return Lease{}, err
	}
	l := leaseOf(offer)
	l.Answered = took
	return l, nil
}

func leaseOf(m *dhcpv4.DHCPv4) Lease {
	l := Lease{Duration: m.IPAddressLeaseTime(time.Hour)}
	mask := m.SubnetMask()
	if mask == nil {
		mask = m.YourIPAddr.DefaultMask()
	}
	if ip, ok := netip.AddrFromSlice(m.YourIPAddr.To4()); ok && !ip.IsUnspecified() {
		bits, _ := mask.Size()
		l.Addr = netip.PrefixFrom(ip, bits)
	}
	if r := m.Router(); len(r) > 0 {
		l.Gateway, _ = netip.AddrFromSlice(r[0].To4())
	}
	for _, d := range m.DNS() {
		if ip, ok := netip.AddrFromSlice(d.To4()); ok {
			l.Resolvers = append(l.Resolvers, ip)
		}
	}
	l.Server, _ = netip.AddrFromSlice(m.ServerIdentifier().To4())
	return l
}

// dhcpClient broadcasts on one interface. Answers come as broadcasts too, since the socket cannot
// receive a unicast to an address that is not set yet.
type dhcpClient struct {
	iface *net.Interface
	conn  net.PacketConn
}

func dialDHCP(name string) (*dhcpClient, error) {
	iface, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("dhcp on %s: %w", name, err)
	}
	if len(iface.HardwareAddr) != 6 {
		return nil, fmt.Errorf("dhcp on %s: not an Ethernet or Wi-Fi interface", name)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctlErr := raw.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
				unix.BindToDevice(int(fd), name))
		})
		return errors.Join(ctlErr, err)
	}}
	conn, err := lc.ListenPacket(context.Background(), "udp4", "0.0.0.0:68")
	if err != nil {
		return nil, fmt.Errorf("dhcp on %s: %w", name, err)
	}
	return &dhcpClient{iface: iface, conn: conn}, nil
}

// exchange sends a message until the server answers it: after 1 s, 2 s, 4 s again, until ctx is done.
// Without a deadline in ctx it gives up after 10 s. A refusal (NAK) is an answer.
func (c *dhcpClient) exchange(ctx context.Context, what string, kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, time.Duration, error) {
	mods = append(mods, dhcpv4.WithMessageType(kind), dhcpv4.WithBroadcast(true), dhcpv4.WithHwAddr(c.iface.HardwareAddr),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer))
	msg, err := dhcpv4.New(mods...)
	if err != nil {
		return nil, 0, fmt.Errorf("dhcp on %s: %w", c.iface.Name, err)
	}
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(10 * time.Second)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 1500)
	for wait := time.Second; ; wait *= 2 {
		sent := time.Now()
		if _, err := c.conn.WriteTo(msg.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil {
			return nil, 0, fmt.Errorf("dhcp on %s: %s: %w", c.iface.Name, what, err)
		}
		until := sent.Add(wait)
		if until.After(end) {
			until = end
		}
		_ = c.conn.SetReadDeadline(until)
		for ctx.Err() == nil {
			n, _, err := c.conn.ReadFrom(buf)
			if err != nil {
				break
			}
			m, err := dhcpv4.FromBytes(buf[:n])
			if err == nil && m.TransactionID == msg.TransactionID && m.OpCode == dhcpv4.OpcodeBootReply {
				return m, time.Since(sent), nil
			}
		}
		if ctx.Err() != nil || !time.Now().Before(end) {
			return nil, 0, fmt.Errorf("dhcp on %s: %s: %w", c.iface.Name, what, ErrNoServer)
		}
	}
}

// ApplyLease sets a lease's address, with its lifetime, and its default route with the given metric.
// Other addresses with a lifetime, which came from earlier leases, are removed from the interface.
func ApplyLease(nl *rtnl.Conn, iface string, l Lease, metric uint32) error {
	index, err := net.InterfaceByName(iface)
	if err != nil {
		return fmt.Errorf("apply lease: %w", err)
	}
	addrs, err := nl.Addrs()
	if err != nil {
		return fmt.Errorf("apply lease: %w", err)
	}
	set := rtnl.Addr{Index: index.Index, Prefix: l.Addr, Broadcast: broadcastOf(l.Addr), Label: iface, Valid: l.Duration}
	if err := nl.ReplaceAddr(set); err != nil {
		return fmt.Errorf("apply lease: %w", err)
	}
	for _, a := range addrs {
		if a.Index == index.Index && a.Valid >= 0 && a.Prefix != l.Addr {
			if err := nl.DeleteAddr(a); err != nil {
				return fmt.Errorf("apply lease: %w", err)
			}
		}
	}
	if !l.Gateway.IsValid() {
		return nil
	}
	route := rtnl.Route{Dst: anywhere, Gateway: l.Gateway, Source: l.Addr.Addr(), Index: index.Index, Metric: metric, Protocol: unix.RTPROT_DHCP}
	if err := nl.ReplaceRoute(route); err != nil {
		return fmt.Errorf("apply lease: %w", err)
	}
	return nil
}

var anywhere = netip.PrefixFrom(netip.IPv4Unspecified(), 0)

func broadcastOf(p netip.Prefix) netip.Addr {
	ip := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		ip[i/8] |= 1 << (7 - i%8)
	}
	return netip.AddrFrom4(ip)
}
