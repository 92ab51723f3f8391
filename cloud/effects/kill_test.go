package effects_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hearthline/hearthline/cloud/effects"
	"github.com/hearthline/hearthline/cloud/store"
	"github.com/hearthline/hearthline/cloud/store/postgres"
	"github.com/hearthline/hearthline/cloud/store/postgres/pgtest"
)

// childEnv carries the database to the process that is going to be killed.
const childEnv = "HEARTH_EFFECTS_CHILD"

func TestMain(m *testing.M) {
	if place := os.Getenv(childEnv); place != "" {
		child(place)
	}
	goleak.VerifyTestMain(m)
}

func openPostgres(place string) (*postgres.DB, error) {
	service, owner, _ := strings.Cut(place, " ")
	return postgres.Open(context.Background(), postgres.Options{URL: service, MigrateURL: owner})
}

// child works on a job that never ends.
func child(place string) {
	db, err := openPostgres(place)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	r, err := effects.New(effects.Options{Jobs: db, Owner: "child", Handlers: map[string]effects.Handler{
		"mail": func(ctx context.Context, j store.Job) error {
			fmt.Println("claimed", j.ID)
			select {} // the lease is renewed all the while
		},
	}})
	if err == nil {
		err = r.Run(context.Background())
	}
	fmt.Println("error", err)
	os.Exit(1)
}

func TestAKilledProcessHandsOverWithinTenSeconds(t *testing.T) {
	server, err := pgtest.New()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	service, owner, err := server.Database()
	if err != nil {
		t.Fatal(err)
	}
	place := service + " " + owner
	db, err := openPostgres(place)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	enqueue(t, db, "a", "b", "c")

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+place)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for range 3 {
		if !lines.Scan() || !strings.HasPrefix(lines.Text(), "claimed ") {
			t.Fatalf("child says %q, %v", lines.Text(), lines.Err())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	_ = cmd.Wait() // killed, as intended

	took := make(chan time.Duration, 3)
	stop := start(t, db, "heir", func(_ context.Context, j store.Job) error {
		if j.Attempts != 2 {
			t.Errorf("job %s in attempt %d, want 2", j.ID, j.Attempts)
		}
		took <- time.Since(killed)
		return nil
	})
	defer stop()
	for range 3 {
		select {
		case d := <-took:
			if d > 10*time.Second {
				t.Errorf("taken over after %v", d)
			}
			t.Logf("taken over after %.1f s", d.Seconds())
		case <-time.After(20 * time.Second):
			t.Fatal("nobody took over")
		}
	}
}
