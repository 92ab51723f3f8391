package home

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"syscall"
	"time"
)

// startBusy gives the hub something to do, so that a recording shows a line in use: small fetches every
// second or so, and now and then a large one.
func (h *Home) startBusy(seed uint64) (stop func(), err error) {
	p, err := h.Start(Command{Host: "hub", Argv: []string{"/proc/self/exe", "home", "busy", "--seed", fmt.Sprint(seed)}, Stderr: os.Stderr})
	if err != nil {
		return nil, err
	}
	return func() {
		_ = p.Signal(syscall.SIGKILL)
		_ = p.Wait()
	}, nil
}

func runBusy(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("home busy", flag.ContinueOnError)
	seed := fs.Uint64("seed", 1, "which fetches, and when")
	if err := fs.Parse(args); err != nil {
		return err
	}
	r := rand.New(rand.NewPCG(*seed, 0x62757379))
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(500+r.ExpFloat64()*1000) * time.Millisecond):
		}
		n := 2000 + r.IntN(60000)
		if r.IntN(60) == 0 {
			n = 2_000_000 + r.IntN(8_000_000)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/bytes?n=%d", WebName, n), nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			continue // the line is down: that is what is being recorded
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil && errors.Is(err, context.Canceled) {
			return nil
		}
	}
}
