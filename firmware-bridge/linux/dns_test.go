package linux

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestAnEmptyDatagramIsNoAnswer(t *testing.T) {
	resolver := netip.MustParseAddr("127.83.7.9")
	l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(resolver, 53)))
	if err != nil {
		t.Skip("no right to listen where resolvers do: ", err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			b := make([]byte, 512)
			n, from, err := l.ReadFromUDPAddrPort(b)
			if err != nil {
				return err
			}
			if _, err := l.WriteToUDPAddrPort(nil, from); err != nil {
				return err
			}
			var m dnsmessage.Message
			if err := m.Unpack(b[:n]); err != nil {
				return err
			}
			m.Response, m.RCode = true, dnsmessage.RCodeNameError
			b, err = m.Pack()
			if err != nil {
				return err
			}
			_, err = l.WriteToUDPAddrPort(b, from)
			return err
		}()
	}()
	a, err := query(t.Context(), resolver, "example.com", 5*time.Second)
	if err != nil || a.rcode != dnsmessage.RCodeNameError {
		t.Errorf("answer %+v, %v; want that there is no such name", a, err)
	}
	l.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
