// Package pgtest starts real PostgreSQL servers for tests: initdb into a temporary folder, as an
// unprivileged user, on a loopback port. A server can be killed and started again.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a running PostgreSQL server.
type Server struct {
	bin, dir string
	port     int
	cred     *syscall.Credential // of the unprivileged user; nil when the test is unprivileged itself
	cmd      *exec.Cmd
	exited   chan struct{}
	n        atomic.Int64
}

// New makes a cluster and starts it. settings, such as "fsync=off", go to its configuration.
func New(settings ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pgtest")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir}
	if err := s.init(settings); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("postgresql in %s: %w", dir, err)
	}
	return s, nil
}

// binaries finds the folder with initdb: the newest of Debian's, or the one in PATH.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		return filepath.Dir(slices.Max(found)), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("postgresql server is not installed (Debian: apt install postgresql): %w", err)
	}
	return filepath.Dir(path), nil
}

func (s *Server) init(settings []string) error {
	if os.Geteuid() == 0 { // the server refuses to run as root
		name := "postgres"
		u, err := user.Lookup(name)
		if err != nil {
			name = "nobody"
			if u, err = user.Lookup(name); err != nil {
				return err
			}
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return err
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return err
		}
		s.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
	}
	pw := filepath.Join(s.dir, "pw")
	if err := os.WriteFile(pw, []byte(password+"\n"), 0o644); err != nil { // in a folder only the server's user can enter
		return err
	}
	out, err := s.command("initdb", "-D", s.data(), "-U", "admin", "-A", "scram-sha-256", "--pwfile", pw, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	conf, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer conf.Close()
	fmt.Fprintf(conf, "\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '%s'\nmax_connections = 200\n", s.dir)
	for _, set := range settings {
		fmt.Fprintln(conf, set)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	return s.Start()
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) command(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	return cmd.CombinedOutput()
}

// password of all roles; the server listens on loopback and lives for one test.
const password = "test-password"

// Start starts the server after Stop or Kill, and waits until it answers.
func (s *Server) Start() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := s.start(ctx)
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "is still in use") {
			return err
		}
		time.Sleep(50 * time.Millisecond) // the last of a killed server's processes are on their way out
	}
}

func (s *Server) start(ctx context.Context) error {
	path := filepath.Join(s.dir, "log")
	log, err := os.Create(path)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.port))
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Pdeathsig: syscall.SIGQUIT} // it does not outlive the test
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.exited = cmd, make(chan struct{})
	go func(done chan struct{}) {
		_ = cmd.Wait() // how it ended is in the log
		close(done)
	}(s.exited)
	for {
		conn, err := pgx.Connect(ctx, s.AdminURL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.exited:
			out, _ := os.ReadFile(path) // best effort: the error is worth more with it
			return fmt.Errorf("server ended at start: %s", out)
		case <-ctx.Done():
			return fmt.Errorf("server does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Kill ends every process of the server at once, as a crash would.
func (s *Server) Kill() error {
	all := append([]int{s.cmd.Process.Pid}, s.children()...)
	var errs []error
	for _, pid := range all {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	<-s.exited
	return errors.Join(errs...)
}

// children lists the server's processes below the first. Each is in a session of its own, so that there is
// no group to signal.
func (s *Server) children() []int {
	out, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", s.cmd.Process.Pid))
	if err != nil {
		return nil // it has ended already
	}
	var pids []int
	for _, f := range strings.Fields(string(out)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Stop shuts the server down, cutting its connections.
func (s *Server) Stop() error {
	if err := syscall.Kill(s.cmd.Process.Pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	<-s.exited
	return nil
}

// Close stops the server and removes its folder.
func (s *Server) Close() error {
	return errors.Join(s.Kill(), os.RemoveAll(s.dir))
}

// Dir is the folder of the cluster.
func (s *Server) Dir() string { return s.dir }

// AdminURL is for a superuser. The store refuses it.
func (s *Server) AdminURL(database string) string { return s.url("admin", database) }

func (s *Server) url(role, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", role, password, s.port, database)
}

// Database makes an empty database with two roles of its own: one that owns it and migrates, and the
// service role, which is neither superuser nor allowed to bypass row-level security.
func (s *Server) Database() (service, owner string, err error) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.AdminURL("postgres"))
	if err != nil {
		return "", "", err
	}
	defer conn.Close(ctx)
	name := fmt.Sprintf("db%d", s.n.Add(1))
	for _, sql := range []string{
		fmt.Sprintf("create role %s_owner login password '%s'", name, password),
		fmt.Sprintf("create role %s_service login nosuperuser nobypassrls password '%s'", name, password),
		fmt.Sprintf("create database %s owner %s_owner", name, name),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return "", "", fmt.Errorf("%s: %w", sql, err)
		}
	}
	return s.url(name+"_service", name), s.url(name+"_owner", name), nil
}
