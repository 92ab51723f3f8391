// Command hearth-agent runs on a hub: it watches the home's connections, tells the cloud, and does what
// signed commands allow. It listens on nothing.
//
// scripts/hub builds it for a hub with little flash.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/app"
)

// gcPercent keeps the heap near what is in use, about a megabyte: Go's default lets it grow to four before
// it looks, and a hub has little memory and few allocations to pay for it.
const gcPercent = 25

// processors is how many the agent's own code may use at once. It sleeps nearly always; with more than one,
// every wake-up wakes other threads that look for work, find none and sleep again, and that was half of the
// processor time. What waits for the disk or the network waits outside of it.
const processors = 1

func main() {
	debug.SetGCPercent(gcPercent)
	runtime.GOMAXPROCS(processors)
	path := flag.String("config", "/etc/hearthline/agent.conf", "configuration file")
	version := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *version {
		fmt.Println(agent.Version)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *path); err != nil {
		fmt.Fprintln(os.Stderr, "hearth-agent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, path string) error {
	config, err := app.ReadConfig(path)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: config.LogLevel}))
	return app.Serve(ctx, config, log)
}
