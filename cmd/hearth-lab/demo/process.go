package demo

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// process is a child that can be killed and started again; what it says goes to a log file.
type process struct {
	name string
	log  string // file; appended to
	argv []string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // closed when cmd has ended
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	defer log.Close()
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // Ctrl-C is for the demo, which ends its children in order
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	p.cmd, p.done = cmd, done
	return nil
}

// kill ends the process as a power cut would.
func (p *process) kill() error { return p.end(syscall.SIGKILL) }

// stop ends the process in good order, and by force when that takes longer than ten seconds.
func (p *process) stop() error { return p.end(syscall.SIGTERM) }

func (p *process) end(with syscall.Signal) error {
	p.mu.Lock()
	cmd, done := p.cmd, p.done
	p.cmd = nil
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(with); err != nil && err != os.ErrProcessDone {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		cmd.Process.Kill()
		<-done
	}
	return nil
}

// ended is closed when the process is not running any more.
func (p *process) ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// lastWords is the end of the process's log, for an error message.
func (p *process) lastWords() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return ""
	}
	const most = 600
	return fmt.Sprintf("%s (%s)", b[max(0, len(b)-most):], filepath.Base(p.log))
}

// freePort returns a port that is free on TCP and UDP now: the preferred one when it is.
func freePort(preferred int) (int, error) {
	for _, port := range []int{preferred, 0, 0, 0} {
		tcp, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		port = tcp.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		tcp.Close()
		if err == nil {
			udp.Close()
			return port, nil
		}
	}
	return 0, fmt.Errorf("no free port, not even instead of %d", preferred)
}
