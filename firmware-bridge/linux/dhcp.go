package linux

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/hearthline/hearthline/firmware-bridge/linux/rtnl"
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
	var msg dhcpMessage
	var first time.Duration
	if current.Is4() {
		keep, cancel := context.WithTimeout(ctx, 4*time.Second)
		msg, first, err = c.exchange(keep, dhcpMessage{kind: dhcpRequest, requested: current})
		cancel()
		if err != nil && ctx.Err() != nil {
			return Lease{}, err
		}
	}
	if msg.kind != dhcpAck {
		var offer dhcpMessage
		if offer, first, err = c.exchange(ctx, dhcpMessage{kind: dhcpDiscover}); err != nil {
			return Lease{}, err
		}
		msg, _, err = c.exchange(ctx, dhcpMessage{kind: dhcpRequest, requested: offer.yours, server: offer.server})
		if err != nil {
			return Lease{}, err
		}
		if msg.kind != dhcpAck {
			return Lease{}, fmt.Errorf("dhcp on %s: server %s refused %s", iface, offer.server, offer.yours)
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
	offer, took, err := c.exchange(ctx, dhcpMessage{kind: dhcpDiscover})
	if err != nil {
		return Lease{}, err
	}
	l := leaseOf(offer)
	l.Answered = took
	return l, nil
}

func leaseOf(m dhcpMessage) Lease {
	l := Lease{Gateway: m.router, Resolvers: m.resolvers, Server: m.server, Duration: m.lease}
	if l.Duration <= 0 {
		l.Duration = time.Hour
	}
	bits := m.mask
	if bits == 0 {
		bits = 24
	}
	if m.yours.IsValid() {
		l.Addr = netip.PrefixFrom(m.yours, bits)
	}
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
func (c *dhcpClient) exchange(ctx context.Context, msg dhcpMessage) (dhcpMessage, time.Duration, error) {
	msg.xid, msg.hardware = rand.Uint32(), [6]byte(c.iface.HardwareAddr)
	out := msg.encode()
	what := map[byte]string{dhcpDiscover: "discover", dhcpRequest: "request " + msg.requested.String()}[msg.kind]
	end, ok := ctx.Deadline()
	if !ok {
		end = time.Now().Add(10 * time.Second)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 1500)
	for wait := time.Second; ; wait *= 2 {
		sent := time.Now()
		if _, err := c.conn.WriteTo(out, &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil {
			return dhcpMessage{}, 0, fmt.Errorf("dhcp on %s: %s: %w", c.iface.Name, what, err)
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
			m, ok := decodeDHCP(buf[:n])
			if ok && m.xid == msg.xid && m.hardware == msg.hardware {
				return m, time.Since(sent), nil
			}
		}
		if ctx.Err() != nil || !time.Now().Before(end) {
			return dhcpMessage{}, 0, fmt.Errorf("dhcp on %s: %s: %w", c.iface.Name, what, ErrNoServer)
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
