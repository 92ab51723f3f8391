package linux

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// dhcpMessage is as much of a DHCP message (RFC 2131, 2132) as a client needs. It is written by hand
// because a library adds 0.12 MB to the agent, a sixth of what all of this package takes.
//
//	 0 op  htype  hlen  hops | xid | secs  flags | ciaddr  yiaddr  siaddr  giaddr
//	28 chaddr(16) | sname(64) | file(128) | 99 130 83 99 | options: code  length  value ... 255
type dhcpMessage struct {
	kind      byte
	xid       uint32
	hardware  [6]byte
	yours     netip.Addr // the address that is offered or granted
	requested netip.Addr
	server    netip.Addr
	mask      int // bits; 0 when not told
	router    netip.Addr
	resolvers []netip.Addr
	lease     time.Duration
}

// Kinds of messages, option 53.
const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpAck      = 5
	dhcpNak      = 6
)

const (
	dhcpHeader  = 240
	dhcpMinimum = 300 // some relays and servers drop what is shorter (RFC 1542, 2.1)

	optionMask      = 1
	optionRouter    = 3
	optionResolvers = 6
	optionRequested = 50
	optionLease     = 51
	optionKind      = 53
	optionServer    = 54
	optionWanted    = 55
	optionEnd       = 255
)

// encode writes what a client sends: a broadcast that asks for its answer as a broadcast.
func (m *dhcpMessage) encode() []byte {
	b := make([]byte, dhcpHeader, dhcpMinimum)
	b[0], b[1], b[2] = 1, 1, 6
	binary.BigEndian.PutUint32(b[4:], m.xid)
	b[10] = 0x80
	copy(b[28:], m.hardware[:])
	copy(b[236:], []byte{99, 130, 83, 99})
	b = append(b, optionKind, 1, m.kind)
	for _, o := range []struct {
		code byte
		ip   netip.Addr
	}{{optionRequested, m.requested}, {optionServer, m.server}} {
		if o.ip.Is4() {
			ip := o.ip.As4()
			b = append(append(b, o.code, 4), ip[:]...)
		}
	}
	b = append(b, optionWanted, 4, optionMask, optionRouter, optionResolvers, optionLease, optionEnd)
	return append(b, make([]byte, max(dhcpMinimum-len(b), 0))...)
}

// decodeDHCP reads a server's answer; ok is false for anything else.
func decodeDHCP(b []byte) (m dhcpMessage, ok bool) {
	if len(b) < dhcpHeader || b[0] != 2 || b[1] != 1 || b[2] != 6 || [4]byte(b[236:240]) != [4]byte{99, 130, 83, 99} {
		return m, false
	}
	m.xid = binary.BigEndian.Uint32(b[4:])
	m.yours = addr4(b[16:20])
	m.hardware = [6]byte(b[28:34])
	for b = b[dhcpHeader:]; len(b) > 0 && b[0] != optionEnd; {
		if b[0] == 0 { // padding has no length
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return m, false
		}
		code, v := b[0], b[2:2+int(b[1])]
		b = b[2+len(v):]
		switch {
		case code == optionKind && len(v) == 1:
			m.kind = v[0]
		case code == optionMask && len(v) == 4:
			for bits := binary.BigEndian.Uint32(v); bits&(1<<31) != 0; bits <<= 1 {
				m.mask++
			}
		case code == optionRouter && len(v) >= 4:
			m.router = addr4(v)
		case code == optionResolvers:
			for ; len(v) >= 4 && len(m.resolvers) < maxResolvers; v = v[4:] {
				m.resolvers = append(m.resolvers, addr4(v))
			}
		case code == optionLease && len(v) == 4:
			m.lease = time.Duration(binary.BigEndian.Uint32(v)) * time.Second
		case code == optionServer && len(v) == 4:
			m.server = addr4(v)
		}
	}
	return m, m.kind != 0
}

// addr4 is an IPv4 address, the zero Addr for 0.0.0.0.
func addr4(b []byte) netip.Addr {
	ip := netip.AddrFrom4([4]byte(b[:4]))
	if ip.IsUnspecified() {
		return netip.Addr{}
	}
	return ip
}
