// Command hearthctl is for those who keep Hearthline: it holds the offline key that authorises plans, and
// asks the service about homes from a terminal.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
)

var commands = []struct {
	name, says string
	run        func(ctx context.Context, args []string) error
}{
	{"keys", "make the pair of keys that authorises plans; keep the private one offline", makeKeys},
	{"plans", "sign the standard plans, or your own, for a tenant", signPlans},
	{"show", "verify a signed plan and print it", showPlan},
	{"find", "look a customer up by phone, name, e-mail, account or device", find},
	{"backup", "take a backup of the store of a running service", backup},
	{"models", "list the versions of the hubs' risk model, add one, start and stop roll-outs", models},
	{"timeline", "print the timeline of a home as a table, and follow it", timeline},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		for _, c := range commands {
			if c.name != os.Args[1] {
				continue
			}
			err := c.run(ctx, os.Args[2:])
			if err != nil && !errors.Is(err, pflag.ErrHelp) && ctx.Err() == nil {
				fmt.Fprintf(os.Stderr, "hearthctl %s: %v\n", c.name, err)
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
			fmt.Fprintf(os.Stderr, "hearthctl: no command %q\n", os.Args[1])
		}
	}
	fmt.Fprintln(out, "usage: hearthctl COMMAND [FLAGS]; --help after a command lists its flags")
	for _, c := range commands {
		fmt.Fprintf(out, "  %-9s %s\n", c.name, c.says)
	}
	os.Exit(code)
}
