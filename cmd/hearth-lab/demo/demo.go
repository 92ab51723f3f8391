// Package demo shows the main loop: a cloud, one real home of network namespaces with the real agent,
// and replayed homes around it. With --once it plays a story of faults and judges what Hearthline made of
// it by reading the timeline; the story is observed, never scripted.
package demo

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// options are the flags.
type options struct {
	once     bool
	seed     uint64
	data     string
	homes    int
	refuse   bool
	calm     bool
	only     string
	replayed bool
}

// onReplay is the outcome of a story that was seen in full, but on a replayed home: the exit code says so.
type onReplay struct{}

func (onReplay) Error() string { return "every step was seen, on a replayed home" }

// ExitCode is neither that of success nor that of a failure.
func (onReplay) ExitCode() int { return 3 }

// Run is the tool.
func Run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "assist" {
		return replayedAssist(ctx, args[1:])
	}
	var o options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.BoolVar(&o.once, "once", false, "play the story without a person and exit 0 only if every step was seen")
	flags.Uint64Var(&o.seed, "seed", 1, "orders the faults and the moments between them")
	flags.StringVar(&o.data, "data", ".data/demo", "folder for everything the demo keeps")
	flags.IntVar(&o.homes, "homes", 30, "replayed homes, 0 to 50")
	flags.BoolVar(&o.refuse, "refuse", false, "with --once: the customer refuses the remote session")
	flags.BoolVar(&o.calm, "calm", false, "with --once: the resolver stays well, so the story must fail")
	flags.BoolVar(&o.replayed, "replayed", false, "do without network namespaces, as where the machine refuses them")
	flags.StringVar(&o.only, "only", "", "with --once: play one chapter: resolver, uplink or batch")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if o.homes < 0 || o.homes > 50 {
		return fmt.Errorf("--homes is %d, want 0 to 50", o.homes)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	w, err := build(ctx, o, os.Stdout)
	if err != nil {
		return err
	}
	if !o.once {
		defer w.close()
		w.invite(os.Stdout)
		<-ctx.Done()
		fmt.Println("\ngoodbye")
		return nil
	}
	err = tell(ctx, w, o, os.Stdout)
	w.close()
	return err
}

// tell plays the story, prints the timeline whatever came of it, and returns what was not seen.
func tell(ctx context.Context, w *world, o options, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	s := &story{world: w, eye: &witness{staff: w.admin, home: homeID}, rng: rand.New(rand.NewPCG(o.seed, 4)), out: out, calm: o.calm, only: o.only}
	err := s.play(ctx)
	entries, readErr := s.eye.timeline(ctx)
	if readErr != nil {
		return errors.Join(err, readErr)
	}
	printTimeline(out, entries)
	file := filepath.Join(w.dir, "demo-timeline.json")
	if writeErr := writeTimeline(file, entries); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	if err != nil {
		return fmt.Errorf("the story was not seen in full: %w", err)
	}
	fmt.Fprintf(out, "every step was seen, in %.0f s; the timeline is in %s\n", time.Since(s.began).Seconds(), file)
	if w.home == nil {
		return onReplay{}
	}
	return nil
}
