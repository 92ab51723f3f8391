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
	"syscall"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/app"
)

func main() {
	frugal()
	path := flag.String("config", "/etc/hearthline/agent.conf", "configuration file")
	version := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "hearth-agent: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
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
	go settle(ctx, log)
	return app.Serve(ctx, config, log)
}
