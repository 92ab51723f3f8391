package home

import (
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

func discard(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }

// relayCloud carries what arrives at CloudAddr to the machine's loopback. A user namespace may not lay
// a cable into the machine's network namespace, but the keeper itself is still in it: sockets opened on
// a host's thread belong to the host, all others to the machine.
func (k *keeper) relayCloud() error {
	for _, port := range k.opts.CloudPorts {
		inside, outside := net.JoinHostPort(CloudAddr, strconv.Itoa(port)), net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		var ln net.Listener
		var pc net.PacketConn
		err := k.hosts["wan"].Do(func() (err error) {
			if ln, err = net.Listen("tcp4", inside); err != nil {
				return err
			}
			pc, err = net.ListenPacket("udp4", inside)
			return err
		})
		if err != nil {
			return err
		}
		k.relays = append(k.relays, ln, pc)
		go relayTCP(ln, outside)
		go relayUDP(pc, outside)
	}
	return nil
}

func relayTCP(ln net.Listener, to string) {
	for {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer in.Close()
			out, err := net.DialTimeout("tcp4", to, 5*time.Second)
			if err != nil {
				// A reset tells the hub what the machine told us: nothing listens there.
				_ = in.(*net.TCPConn).SetLinger(0)
				return
			}
			defer out.Close()
			var both sync.WaitGroup
			for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
				both.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					_ = pair[0].(*net.TCPConn).CloseWrite()
				})
			}
			both.Wait()
		}()
	}
}

// relayUDP gives every sender a socket of its own, as NAT does, until it has been silent for a minute.
func relayUDP(pc net.PacketConn, to string) {
	const idle = time.Minute
	var mu sync.Mutex
	flows := map[string]net.Conn{}
	buf := make([]byte, 64<<10)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		key := from.String()
		mu.Lock()
		out := flows[key]
		if out == nil {
			if out, err = net.Dial("udp4", to); err != nil {
				mu.Unlock()
				continue
			}
			flows[key] = out
			go func() {
				defer func() {
					out.Close()
					mu.Lock()
					delete(flows, key)
					mu.Unlock()
				}()
				back := make([]byte, 64<<10)
				for {
					_ = out.SetReadDeadline(time.Now().Add(idle))
					n, err := out.Read(back)
					if err != nil {
						return
					}
					_, _ = pc.WriteTo(back[:n], from)
				}
			}()
		}
		mu.Unlock()
		_, _ = out.Write(buf[:n])
	}
}
