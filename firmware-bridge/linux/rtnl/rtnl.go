// Package rtnl speaks as much rtnetlink and generic netlink as a hub's agent needs: links with their
// counters, addresses, routes and neighbours, and the few changes a fix makes to them.
//
// It is written by hand because of the agent's size: on amd64 a netlink library adds 0.4 to 0.6 MB to
// the binary, this package about 30 kB. See rtnetlink(7) and linux/rtnetlink.h.
package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Link is a network interface.
type Link struct {
	Index   int
	Name    string
	Up      bool // administratively up
	Carrier bool // the other end is there
	Kind    uint16
	MTU     uint32
	HWAddr  [6]byte
	Stats   Stats

	CarrierChanges uint32 // how often the carrier came or went
}

// Stats are counters since the interface appeared.
type Stats struct {
	RxPackets, TxPackets, RxBytes, TxBytes, RxErrors, TxErrors, RxDropped, TxDropped uint64
}

// Addr is an IPv4 address of an interface.
type Addr struct {
	Index     int
	Prefix    netip.Prefix
	Broadcast netip.Addr
	Label     string
	Valid     time.Duration // what is left of its life; negative means for ever
	Age       time.Duration // since it was last set or renewed
}

// Route is an IPv4 route of the main table.
type Route struct {
	Dst      netip.Prefix // 0.0.0.0/0 for the default route
	Gateway  netip.Addr   // the zero Addr for a network that is directly reached
	Source   netip.Addr   // preferred source; the zero Addr for none
	Index    int
	Metric   uint32
	Protocol uint8 // who set it: 2 kernel, 3 boot, 4 static, 16 dhcp
	Scope    uint8
	OnLink   bool
}

// Neighbour is an entry of the ARP table.
type Neighbour struct {
	Index int
	IP    netip.Addr
	State uint16 // NUD_* of linux/neighbour.h
}

// Conn is a netlink socket. Its methods may be called from any goroutine; calls take turns. The socket
// belongs to the network namespace of the thread that called Open.
type Conn struct {
	mu  sync.Mutex
	fd  int
	seq uint32
	buf []byte
	out []byte
}

// Open opens a route socket.
func Open() (*Conn, error) { return open(unix.NETLINK_ROUTE) }

// OpenGeneric opens a generic netlink socket, for Request.
func OpenGeneric() (*Conn, error) { return open(unix.NETLINK_GENERIC) }

func open(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	tv := unix.Timeval{Sec: 5} // the kernel answers at once; this only keeps a fault from hanging us
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("bind netlink: %w", err)
	}
	return &Conn{fd: fd, buf: make([]byte, 32<<10)}, nil
}

// Close closes the socket.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := unix.Close(c.fd)
	c.fd = -1
	return err
}

var order = binary.NativeEndian

// Request sends one message and calls each for the payload of every answer. flags are added to
// NLM_F_REQUEST; with NLM_F_DUMP the call ends at NLMSG_DONE, else at the kernel's acknowledgement.
// An error of the kernel is returned as its unix.Errno, wrapped. The payload is only valid in each.
func (c *Conn) Request(kind, flags uint16, payload []byte, each func(kind uint16, payload []byte)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return errors.New("netlink: closed")
	}
	c.seq++
	flags |= unix.NLM_F_REQUEST
	if flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
		flags |= unix.NLM_F_ACK
	}
	c.out = c.out[:0]
	c.out = order.AppendUint32(c.out, uint32(unix.NLMSG_HDRLEN+len(payload)))
	c.out = order.AppendUint16(c.out, kind)
	c.out = order.AppendUint16(c.out, flags)
	c.out = order.AppendUint32(c.out, c.seq)
	c.out = order.AppendUint32(c.out, 0)
	c.out = append(c.out, payload...)
	if err := unix.Sendto(c.fd, c.out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	for {
		n, _, err := unix.Recvfrom(c.fd, c.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("netlink: %w", err)
		}
		done, err := c.scan(c.buf[:n], each)
		if err != nil || done {
			return err
		}
	}
}

// scan walks the messages of one datagram; done is true after the last one of the answer.
func (c *Conn) scan(b []byte, each func(uint16, []byte)) (done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		size := int(order.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return true, errors.New("netlink: malformed message")
		}
		kind, seq := order.Uint16(b[4:]), order.Uint32(b[8:])
		payload := b[unix.NLMSG_HDRLEN:size]
		b = b[min(align(size), len(b)):]
		switch {
		case seq != c.seq: // the rest of an answer we gave up on
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR:
			if len(payload) < 4 {
				return true, errors.New("netlink: malformed error")
			}
			if code := int32(order.Uint32(payload)); code != 0 {
				return true, fmt.Errorf("netlink: %w", unix.Errno(-code))
			}
			return true, nil
		case each != nil:
			each(kind, payload)
		}
	}
	return false, nil
}

func align(n int) int { return (n + 3) &^ 3 }

// Attributes calls each for every attribute in b, without the nesting flag. Malformed rests are ignored.
func Attributes(b []byte, each func(kind uint16, value []byte)) {
	for len(b) >= 4 {
		size := int(order.Uint16(b))
		if size < 4 || size > len(b) {
			return
		}
		each(order.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[4:size])
		b = b[min(align(size), len(b)):]
	}
}

// AppendAttribute appends an attribute with its padding.
func AppendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = order.AppendUint16(b, uint16(4+len(value)))
	b = order.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// Text is a NUL-terminated attribute as a string.
func Text(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}
