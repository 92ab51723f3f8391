package restart

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hearthline/hearthline/cloud/app"
	"github.com/hearthline/hearthline/cloud/store/bolt"
	"github.com/hearthline/hearthline/cmd/hearth-lab/chaos"
)

// service is the cloud: a process that can be killed and started again on the same addresses.
type service struct {
	program, data string
	http, mqtt    string
	proc          *exec.Cmd
}

// prepare makes the registry's devices and finds addresses.
func (s *service) prepare(ctx context.Context, devices int) error {
	if err := os.MkdirAll(s.data, 0o700); err != nil {
		return err
	}
	db, err := bolt.Open(bolt.Options{Path: filepath.Join(s.data, "hearth.db")}, app.Tables()...)
	if err != nil {
		return err
	}
	if err := errors.Join(chaos.Provision(ctx, db, devices), db.Close()); err != nil {
		return err
	}
	for _, addr := range []*string{&s.http, &s.mqtt} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close() // only then, so that the two differ
		*addr = l.Addr().String()
	}
	return nil
}

// start returns when the service answers that it is well.
func (s *service) start(ctx context.Context) error {
	s.proc = exec.CommandContext(ctx, s.program, "serve", "--data", s.data, "--tenant.id", chaos.Tenant, "--log", "error",
		"--http.listen", s.http, "--devices.mqtt", s.mqtt, "--devices.enrol", "127.0.0.1:0", "--devices.hosts", "127.0.0.1")
	s.proc.Stderr = os.Stderr
	if err := s.proc.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.program, err)
	}
	return await(ctx, 20*time.Second, "hearth-cloud to be well", func() bool {
		resp, err := http.Get("http://" + s.http + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// kill ends the service as a power cut would.
func (s *service) kill() {
	if s.proc != nil && s.proc.Process != nil {
		s.proc.Process.Kill()
		s.proc.Wait()
	}
}
