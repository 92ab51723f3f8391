package home

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/hearthline/hearthline/cmd/hearth-lab/netns"
)

// The control socket carries one request a connection, as JSON; exec goes on with the standard files of
// the process as SCM_RIGHTS, its number, then signals in one direction and the exit in the other.
// A process whose connection closes is killed: nothing in the home outlives the one who wanted it.
type request struct {
	Op     string   `json:"op"` // info, down, fault, faults, exec
	Fault  Fault    `json:"fault,omitzero"`
	On     bool     `json:"on,omitempty"`
	Host   string   `json:"host,omitempty"`
	Argv   []string `json:"argv,omitempty"`
	Env    []string `json:"env,omitempty"`
	Dir    string   `json:"dir,omitempty"`
	Signal int      `json:"signal,omitempty"` // after exec
}

type reply struct {
	Error   string  `json:"error,omitempty"`
	Info    *Info   `json:"info,omitempty"`
	Faults  []Fault `json:"faults,omitempty"`
	PID     int     `json:"pid,omitempty"` // inside the home
	Exited  bool    `json:"exited,omitempty"`
	Code    int     `json:"code,omitempty"`
	Signal  int     `json:"signal,omitempty"` // that ended the process
	Started bool    `json:"started,omitempty"`
}

func (r reply) err() error {
	if r.Error != "" {
		return errors.New(r.Error)
	}
	return nil
}

func (h *Home) dial() (*net.UnixConn, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socketPath(h.dir), Net: "unix"})
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w: %s", ErrDown, h.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	return c, nil
}

func (h *Home) call(q request, r *reply) error {
	c, err := h.dial()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := json.NewEncoder(c).Encode(q); err != nil {
		return fmt.Errorf("home: %w", err)
	}
	if err := json.NewDecoder(c).Decode(r); err != nil {
		return fmt.Errorf("home: keeper: %w", err)
	}
	if r.Info != nil {
		if pid, err := peerPID(c); err == nil {
			r.Info.KeeperPID = pid
		}
	}
	return r.err()
}

// Command is a program to run in a host. Host and Argv are required. Nil files are /dev/null; a nil Env
// is this process's own.
type Command struct {
	Host           string
	Argv           []string
	Env            []string
	Dir            string
	Stdin          *os.File
	Stdout, Stderr *os.File
}

// Process is a program that runs in a host.
type Process struct {
	conn  *net.UnixConn
	inner int
	outer int
	done  chan struct{}
	err   error
}

// Start runs a program in a host. It is killed when this process ends.
func (h *Home) Start(cmd Command) (*Process, error) {
	if !slices.Contains(Hosts, cmd.Host) {
		return nil, fmt.Errorf("home: host %q is unknown: want one of %s", cmd.Host, strings.Join(Hosts, ", "))
	}
	if len(cmd.Argv) == 0 {
		return nil, errors.New("home: no command given")
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	if cmd.Dir == "" {
		cmd.Dir, _ = os.Getwd()
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	defer null.Close()
	var fds []int
	for _, f := range []*os.File{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		if f == nil {
			f = null
		}
		fds = append(fds, int(f.Fd()))
	}
	c, err := h.dial()
	if err != nil {
		return nil, err
	}
	if err := json.NewEncoder(c).Encode(request{Op: "exec", Host: cmd.Host, Argv: cmd.Argv, Env: cmd.Env, Dir: cmd.Dir}); err != nil {
		c.Close()
		return nil, fmt.Errorf("home: %w", err)
	}
	if _, _, err := c.WriteMsgUnix([]byte{'\n'}, unix.UnixRights(fds...), nil); err != nil {
		c.Close()
		return nil, fmt.Errorf("home: pass files: %w", err)
	}
	in := json.NewDecoder(c)
	var r reply
	if err := in.Decode(&r); err != nil || r.Error != "" {
		c.Close()
		return nil, fmt.Errorf("home: start %s in %s: %w", cmd.Argv[0], cmd.Host, errors.Join(err, r.err()))
	}
	p := &Process{conn: c, inner: r.PID, done: make(chan struct{})}
	if keeper, err := peerPID(c); err == nil {
		p.outer = outerPID(keeper, r.PID)
	}
	go func() {
		defer close(p.done)
		defer c.Close()
		var r reply
		if err := in.Decode(&r); err != nil {
			p.err = fmt.Errorf("home: keeper: %w", err)
		} else if r.Code != 0 || r.Signal != 0 {
			p.err = &ExitError{Code: r.Code, Signal: syscall.Signal(r.Signal)}
		}
	}()
	return p, nil
}

// ExitError says how a process ended that did not end well.
type ExitError struct {
	Code   int
	Signal syscall.Signal // 0 unless a signal ended it
}

func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return "ended by signal " + e.Signal.String()
	}
	return fmt.Sprintf("exit status %d", e.Code)
}

// ExitCode is the code as a shell would give it.
func (e *ExitError) ExitCode() int {
	if e.Signal != 0 {
		return 128 + int(e.Signal)
	}
	return e.Code
}

// PID is the process's number as the machine sees it, 0 when it could not be found.
func (p *Process) PID() int { return p.outer }

// Signal sends a signal to the process. Sending one to a process that has ended is no error.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := json.NewEncoder(p.conn).Encode(request{Signal: int(s)}); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("home: %w", err)
	}
	return nil
}

// Wait waits for the end of the process and returns nil, an *ExitError, or that the home went down.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Run starts a program and waits for its end; when ctx is done first, the program is killed.
func (h *Home) Run(ctx context.Context, cmd Command) error {
	p, err := h.Start(cmd)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Signal(syscall.SIGKILL) })
	defer stop()
	return p.Wait()
}

func peerPID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, credErr
	}
	return int(cred.Pid), nil
}

// outerPID finds the child of the keeper that has the given number inside the home's PID namespace.
func outerPID(keeper, inner int) int {
	paths, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		var parent, last int
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			switch {
			case len(f) == 2 && f[0] == "PPid:":
				parent, _ = strconv.Atoi(f[1])
			case len(f) > 2 && f[0] == "NSpid:":
				last, _ = strconv.Atoi(f[len(f)-1])
			}
		}
		if parent == keeper && last == inner {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// accept serves the control socket.
func (k *keeper) accept(ln *net.UnixListener) {
	for {
		c, err := ln.AcceptUnix()
		if err != nil {
			return
		}
		go k.answer(c)
	}
}

func (k *keeper) answer(c *net.UnixConn) {
	defer c.Close()
	// Read by hand up to the end of the line: a buffered reader would swallow the files that follow.
	var line []byte
	for one := make([]byte, 1); ; {
		if _, err := c.Read(one); err != nil || len(line) > 1<<20 {
			return
		}
		if one[0] == '\n' {
			break
		}
		line = append(line, one[0])
	}
	out := json.NewEncoder(c)
	var q request
	if err := json.Unmarshal(line, &q); err != nil {
		_ = out.Encode(reply{Error: "malformed request: " + err.Error()})
		return
	}
	var r reply
	switch q.Op {
	case "info":
		r.Info = &k.info
	case "down":
		_ = out.Encode(r)
		k.end()
		return
	case "faults":
		r.Faults = k.active()
	case "fault":
		if err := q.Fault.validate(); err != nil {
			r.Error = err.Error()
		} else if err := k.fault(q.Fault, q.On); err != nil {
			r.Error = err.Error()
		}
	case "exec":
		if err := k.exec(c, q, out); err != nil {
			r.Error = err.Error()
		} else {
			return
		}
	default:
		r.Error = fmt.Sprintf("unknown operation %q", q.Op)
	}
	_ = out.Encode(r)
}

// exec runs a process in a host for as long as the connection lasts.
func (k *keeper) exec(c *net.UnixConn, q request, out *json.Encoder) error {
	oob := make([]byte, unix.CmsgSpace(3*4))
	_, n, _, _, err := c.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return fmt.Errorf("receive files: %w", err)
	}
	files, err := receivedFiles(oob[:n])
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	h := k.hosts[q.Host]
	if h == nil || len(q.Argv) == 0 {
		return fmt.Errorf("no host %q or no command", q.Host)
	}
	var cmd *exec.Cmd
	err = h.Do(func() error { // looked up and started with the host's view of the file system
		path := q.Argv[0]
		if !strings.Contains(path, "/") {
			found, err := netns.Program(path)
			if err != nil {
				return err
			}
			path = found
		}
		cmd = exec.Command(path, q.Argv[1:]...)
		cmd.Env, cmd.Dir = q.Env, q.Dir
		cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Start()
	})
	if err != nil {
		return err
	}
	pid := cmd.Process.Pid
	if err := out.Encode(reply{PID: pid, Started: true}); err != nil {
		_ = syscall.Kill(-pid, syscall.SIGKILL)
	}
	ended := make(chan struct{})
	listening := make(chan struct{})
	go func() { // signals, until the connection closes
		defer close(listening)
		in := json.NewDecoder(c)
		for {
			var s request
			if err := in.Decode(&s); err != nil {
				select {
				case <-ended:
				default:
					_ = syscall.Kill(-pid, syscall.SIGKILL)
				}
				return
			}
			_ = cmd.Process.Signal(syscall.Signal(s.Signal))
		}
	}()
	_ = cmd.Wait()
	close(ended)
	r := reply{Exited: true, Code: max(cmd.ProcessState.ExitCode(), 0)}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		r.Signal = int(ws.Signal())
	}
	_ = out.Encode(r)
	_ = c.CloseRead()
	<-listening
	return nil
}

func receivedFiles(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("expected three files"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, fmt.Errorf("expected three files: %w", err)
	}
	var files []*os.File
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "passed"))
	}
	if len(files) != 3 {
		return files, errors.New("expected three files")
	}
	return files, nil
}
