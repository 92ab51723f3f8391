package linux

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Outcomes of a probe that got no good answer.
var (
	errTimeout     = errors.New("timeout")
	errUnreachable = errors.New("unreachable")
	errForbidden   = errors.New("not permitted") // this process may not send pings
)

// echo is an answer to an ICMP echo request.
type echo struct {
	from netip.Addr
	took time.Duration
	hop  bool // a router on the way answered that the hop limit was reached
}

// echoSocket sends ICMP echo requests (RFC 792). It is bound to nothing, so that every request takes the
// source address and the route of its moment. One goroutine at a time may use it.
type echoSocket struct {
	file *os.File
	raw  bool
}

// openEcho opens a socket for echo requests. ttl 0 means the system's own. The error is errForbidden where
// this process may not send pings.
func openEcho(ttl int) (*echoSocket, error) {
	const flags = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	raw := ttl > 0 // traceroute wants the routers' answers
	fd, err := -1, error(unix.EACCES)
	if !raw {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|flags, unix.IPPROTO_ICMP)
	}
	if err != nil { // ping_group_range allows no datagram socket
		raw = true
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|flags, unix.IPPROTO_ICMP); err != nil {
			return nil, errForbidden
		}
	}
	if ttl > 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL, ttl); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("set hop limit: %w", err)
		}
	}
	s := &echoSocket{os.NewFile(uintptr(fd), "icmp"), raw}
	s.hear(fd, false)
	return s, nil
}

// hear opens or closes the ears of a raw socket, which gets the answers to everybody: between two requests
// they would fill it, and wake this process for nothing.
func (s *echoSocket) hear(fd int, on bool) {
	drop := ^uint32(0)
	if on {
		drop &^= 1<<echoReply | 1<<unreachable | 1<<timeExceeded
	}
	if s.raw {
		_ = unix.SetsockoptInt(fd, unix.SOL_RAW, 1 /* ICMP_FILTER */, int(int32(drop)))
	}
}

func (s *echoSocket) close() { _ = s.file.Close() }

// ping asks once through a socket of its own.
func ping(ctx context.Context, to netip.Addr, ttl int, timeout time.Duration) (echo, error) {
	s, err := openEcho(ttl)
	if err != nil {
		return echo{}, err
	}
	defer s.close()
	return s.ask(ctx, to, timeout)
}

// ask sends one echo request and waits for its answer.
func (s *echoSocket) ask(ctx context.Context, to netip.Addr, timeout time.Duration) (echo, error) {
	end := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(end) {
		end = d
	}
	_ = s.file.SetDeadline(end)
	stop := context.AfterFunc(ctx, func() { _ = s.file.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := s.file.SyscallConn()
	if err != nil {
		return echo{}, err
	}
	defer func() {
		_ = conn.Control(func(fd uintptr) { s.hear(int(fd), false) })
		_ = s.file.SetDeadline(time.Time{}) // it would wake this process for nothing
	}()
	var in [576]byte
	var out [16]byte
	token := rand.Uint64()
	out[0] = 8 // echo request
	binary.BigEndian.PutUint32(out[4:], uint32(token))
	binary.BigEndian.PutUint64(out[8:], token)
	binary.BigEndian.PutUint16(out[2:], checksum(out[:]))
	sent := time.Now()
	var sendErr error
	if err := conn.Control(func(fd uintptr) {
		s.hear(int(fd), true)
		sendErr = unix.Sendto(int(fd), out[:], 0, &unix.SockaddrInet4{Addr: to.As4()})
	}); err != nil {
		return echo{}, err
	}
	if sendErr != nil {
		if errors.Is(sendErr, unix.EPERM) || errors.Is(sendErr, unix.EACCES) {
			return echo{}, errForbidden
		}
		return echo{}, errUnreachable // no route, no carrier
	}
	for {
		var n int
		var from syscall.Sockaddr
		var recvErr error
		if err := conn.Read(func(fd uintptr) bool {
			n, from, recvErr = syscall.Recvfrom(int(fd), in[:], 0) // unix.Recvfrom also asks which protocol the socket has
			return !errors.Is(recvErr, unix.EAGAIN)
		}); err != nil {
			if ctx.Err() != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return echo{}, ctx.Err()
			}
			return echo{}, errTimeout
		}
		if recvErr != nil {
			return echo{}, errUnreachable
		}
		a := echo{took: time.Since(sent)}
		if sender, ok := from.(*syscall.SockaddrInet4); ok {
			a.from = netip.AddrFrom4(sender.Addr)
		}
		b := in[:n]
		if s.raw {
			b = skipHeader(b)
		}
		switch kind := answers(b, token); {
		case kind == echoReply, kind == unreachable && a.from == to && refusal(b[1]): // who refuses pings is there
			return a, nil
		case kind == unreachable:
			return a, errUnreachable
		case kind == timeExceeded:
			a.hop = true
			return a, nil
		}
	}
}

// Types of ICMP messages (RFC 792).
const (
	echoReply    = 0
	unreachable  = 3
	timeExceeded = 11
)

// answers is the type of an ICMP message that answers the request with this token, or -1 if it does not.
func answers(b []byte, token uint64) int {
	switch {
	case len(b) >= 16 && b[0] == echoReply && binary.BigEndian.Uint64(b[8:]) == token:
		return echoReply
	case len(b) >= 8 && (b[0] == unreachable || b[0] == timeExceeded):
		// It quotes the header and eight bytes of what we sent.
		if q := skipHeader(b[8:]); len(q) >= 8 && q[0] == 8 && binary.BigEndian.Uint32(q[4:]) == uint32(token) {
			return int(b[0])
		}
	}
	return -1
}

// refusal is whether this code of an unreachable says that somebody wants no pings: protocol or port unreachable,
// or one of the prohibitions. The others say that somebody could not be reached, which an address that
// stands for others says in its own name.
func refusal(code byte) bool { return code == 2 || code == 3 || code == 9 || code == 10 || code == 13 }

func skipHeader(b []byte) []byte {
	if len(b) < 20 || len(b) < int(b[0]&15)*4 {
		return nil
	}
	return b[int(b[0]&15)*4:]
}

// checksum is the internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
