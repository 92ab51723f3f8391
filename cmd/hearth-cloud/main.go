// Command hearth-cloud is the service: broker, ingest, timeline, API and pages in one process.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker (-X main.version=...).
var version = "dev"

var commands = []struct {
	name, says string
	run        func(ctx context.Context, args []string) error
}{
	{"serve", "run the service until it is told to stop", serve},
	{"backup", "write a backup of the store while nothing else has it open", backup},
	{"restore", "make a new store from a backup", restore},
	{"check", "look whether the store is consistent", check},
	{"train", "fit a risk model to what the store holds, for hearthctl models add", train},
	{"openapi", "print the OpenAPI document of the API", printOpenAPI},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		for _, c := range commands {
			if c.name == os.Args[1] {
				if err := c.run(ctx, os.Args[2:]); err != nil {
					fmt.Fprintf(os.Stderr, "hearth-cloud %s: %v\n", c.name, err)
					os.Exit(1)
				}
				return
			}
		}
	}
	out, code := os.Stderr, 2
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "help", "-h", "--help":
			out, code = os.Stdout, 0
		default:
			fmt.Fprintf(os.Stderr, "hearth-cloud: no command %q\n", os.Args[1])
		}
	}
	fmt.Fprintln(out, "usage: hearth-cloud COMMAND [FLAGS]; --help after a command lists its flags")
	for _, c := range commands {
		fmt.Fprintf(out, "  %-9s %s\n", c.name, c.says)
	}
	os.Exit(code)
}
