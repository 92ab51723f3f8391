// Command hearth-assist is the device's end of one remote session. The agent starts it, speaks with it over
// its standard input and output, and it ends with the session; what it logs goes to standard error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/hearthline/hearthline/agent/app"
	"github.com/hearthline/hearthline/agent/assist"
)

func main() {
	path := flag.String("config", "/etc/hearthline/agent.conf", "configuration file of the agent")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "hearth-assist: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *path); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "hearth-assist:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, path string) error {
	config, err := app.ReadConfig(path)
	if err != nil {
		return err
	}
	driver, err := app.OpenDriver(config)
	if err != nil {
		return err
	}
	defer driver.Close()
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: config.LogLevel}))
	session, err := assist.New(assist.Options{Hub: driver, In: os.Stdin, Out: os.Stdout, Log: log})
	if err != nil {
		return err
	}
	return session.Run(ctx)
}
