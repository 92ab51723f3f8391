package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hearthline/hearthline/cmd/hearth-lab/netns"
)

// machine is one computer of the lab: a network of its own, a wall clock that may be wrong, and one program.
type machine struct {
	role  role
	name  string
	host  *netns.Host
	addr  netip.Addr
	port  string // the street's end of its cable
	disk  *disk  // where its program keeps what it has
	argv  []string
	ready string // what the program prints when it is
	ended func(m *machine, err error)

	mu     sync.Mutex
	offset time.Duration // of its wall clock from the true one
	prog   *program      // nil while it is off
}

// program is a program that runs.
type program struct {
	cmd    *exec.Cmd
	clock  *wall
	doomed bool // it may end now
	over   chan struct{}
}

// newStreet makes the machine through which all others see each other. What packets meet on their way they
// meet here, between two machines, and not in the sockets of either.
func newStreet() (*netns.Host, error) {
	s, err := netns.New("street", unix.CLONE_NEWNET, nil)
	if err != nil {
		return nil, err
	}
	err = errors.Join(s.IP("link set lo up\n"), s.Set("net.ipv4.ip_forward", "1"), s.NFT(`table ip weather {
 set dark { type ipv4_addr; }
 set lossy { type ipv4_addr; }
 set refused { type ipv4_addr; }
 chain way {
  type filter hook forward priority 0;
  ip saddr @dark drop
  ip daddr @dark drop
  ip saddr @lossy numgen random mod 100 < 20 drop
  ip daddr @lossy numgen random mod 100 < 20 drop
  ip saddr @refused ip protocol tcp reject with tcp reset
  ip daddr @refused ip protocol tcp reject with tcp reset
 }
}
`))
	return s, err
}

// newMachine makes the n-th machine of a street, on 10.77.n.2.
func newMachine(street *netns.Host, n int, r role, name string, d *disk) (*machine, error) {
	m := &machine{role: r, name: name, disk: d, port: fmt.Sprintf("to%d", n), addr: netip.AddrFrom4([4]byte{10, 77, byte(n), 2})}
	var err error
	if m.host, err = netns.New(name, unix.CLONE_NEWNET, nil); err != nil {
		return nil, err
	}
	gateway := m.addr.Prev().String()
	return m, errors.Join(
		street.IP("link add "+m.port+" type veth peer name eth0 netns /proc/self/fd/3\n"+
			"addr add "+gateway+"/30 dev "+m.port+"\nlink set "+m.port+" up\n", m.host.Namespace()),
		m.host.IP("link set lo up\naddr add "+m.addr.String()+"/30 dev eth0\nlink set eth0 up\nroute add default via "+gateway+"\n"),
	)
}

// boot starts the machine's program and waits until it is ready.
func (m *machine) boot(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &program{cmd: exec.CommandContext(ctx, m.argv[0], m.argv[1:]...), over: make(chan struct{})}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if m.role == brokerRole {
		p.cmd.Stderr = p.cmd.Stdout // where mosquitto says that it runs
	}
	err = m.host.Do(func() (err error) {
		p.clock, err = startWithClock(p.cmd, m.offset)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	late := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	in := bufio.NewReader(out)
	for line := ""; !strings.Contains(line, m.ready); {
		if line, err = in.ReadString('\n'); err != nil {
			err = errors.Join(p.cmd.Wait(), ctx.Err())
			return fmt.Errorf("%s ended before it was ready: %w", m.name, err)
		}
	}
	m.prog = p
	go func() {
		defer close(p.over)
		_, _ = io.Copy(io.Discard, in)
		err := p.cmd.Wait()
		m.mu.Lock()
		defer m.mu.Unlock()
		p.clock.mem.Close()
		if m.prog == p {
			m.prog = nil
		}
		if !p.doomed && ctx.Err() == nil {
			m.ended(m, err)
		}
	}()
	return nil
}

// doom says that the program may end.
func (m *machine) doom() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.prog != nil {
		m.prog.doomed = true
	}
}

// kill is kill -9, and waits for the end. Without a program it does nothing.
func (m *machine) kill() {
	m.doom()
	m.mu.Lock()
	p := m.prog
	m.prog = nil
	m.mu.Unlock()
	if p != nil {
		_ = p.cmd.Process.Kill()
		<-p.over
	}
}

// setClock makes the wall clock differ from the true one: that of the program that runs and those of the
// ones that follow it.
func (m *machine) setClock(offset time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offset = offset
	if m.prog == nil {
		return nil
	}
	return m.prog.clock.set(offset)
}
