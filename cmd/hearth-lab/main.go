// Command hearth-lab measures Hearthline and gives it something to live in: homes made of network
// namespaces, fleets of real agents, and judges for the models. Each tool is one package below this one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hearthline/hearthline/cmd/hearth-lab/chaos"
	"github.com/hearthline/hearthline/cmd/hearth-lab/cluster"
	"github.com/hearthline/hearthline/cmd/hearth-lab/demo"
	"github.com/hearthline/hearthline/cmd/hearth-lab/fleet"
	"github.com/hearthline/hearthline/cmd/hearth-lab/footprint"
	"github.com/hearthline/hearthline/cmd/hearth-lab/home"
	"github.com/hearthline/hearthline/cmd/hearth-lab/homefit"
	"github.com/hearthline/hearthline/cmd/hearth-lab/ingest"
	"github.com/hearthline/hearthline/cmd/hearth-lab/latency"
	"github.com/hearthline/hearthline/cmd/hearth-lab/linkfault"
	"github.com/hearthline/hearthline/cmd/hearth-lab/outbreak"
	"github.com/hearthline/hearthline/cmd/hearth-lab/report"
	"github.com/hearthline/hearthline/cmd/hearth-lab/restart"
	"github.com/hearthline/hearthline/cmd/hearth-lab/storebench"
	"github.com/hearthline/hearthline/cmd/hearth-lab/wire"
)

// tool is one subcommand. run parses its own flags from args and blocks until done.
type tool struct {
	name  string
	about string
	run   func(ctx context.Context, args []string) error
}

var tools = []tool{
	{"demo", "show the main loop in a home of network namespaces", demo.Run},
	{"cluster", "three instances behind mosquitto over PostgreSQL; --once breaks each in turn", cluster.Run},
	{"chaos", "breaks everything between devices and timeline, and counts", chaos.Run},
	{"fleet", "many real agents over replayed homes, in one process", fleet.Run},
	{"footprint", "what the agent costs a hub, beside node_exporter and collectd", footprint.Run},
	{"home", "a home of network namespaces with real faults", home.Run},
	{"homefit", "fits the hub's risk model to recorded homes", homefit.Run},
	{"linkfault", "trains on links, predicts the faults of others", linkfault.Run},
	{"latency", "from a fault on the hub to the customer told", latency.Run},
	{"idle", "what a connected, silent device costs the cloud, and how fast a fleet is back", ingest.RunIdle},
	{"ingest", "durable ingest beside mosquitto, paho and bbolt", ingest.Run},
	{"outbreak", "finds a cohort of devices that goes bad; makes and judges such fleets", outbreak.Run},
	{"restart", "thousands of real agents start at once, or lose the cloud at once: how they come back", restart.Run},
	{"store", "fills a store and measures what people wait for, beside the raw engine", storebench.Run},
	{"report", "judges the link fault models: tables, intervals, plots", report.Run},
	{"wire", "bytes and nanoseconds per telemetry value", wire.Run},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		for _, t := range tools {
			if t.name != os.Args[1] {
				continue
			}
			err := t.run(ctx, os.Args[2:])
			if errors.Is(err, flag.ErrHelp) {
				return
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "hearth-lab %s: %v\n", t.name, err)
				if c, ok := errors.AsType[interface {
					error
					ExitCode() int
				}](err); ok {
					os.Exit(c.ExitCode()) // what was run inside of a home decides
				}
				os.Exit(1)
			}
			return
		}
	}
	out, code := os.Stderr, 2
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "help", "-h", "--help":
			out, code = os.Stdout, 0
		default:
			fmt.Fprintf(os.Stderr, "hearth-lab: no tool %q\n", os.Args[1])
		}
	}
	fmt.Fprintln(out, "usage: hearth-lab TOOL [flags]")
	for _, t := range tools {
		fmt.Fprintf(out, "  %-10s %s\n", t.name, t.about)
	}
	os.Exit(code)
}
