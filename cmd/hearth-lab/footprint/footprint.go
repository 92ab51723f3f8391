// Package footprint measures what the agent costs a hub: the size of its binary on four processors and what
// each library adds to it, its resident memory and its CPU time beside node_exporter and collectd, all three
// at the same interval on the same machine at the same time.
package footprint

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Run is the tool `hearth-lab footprint`. It must be started in the repository, since it builds.
func Run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("footprint", flag.ContinueOnError)
	interval := flags.Duration("interval", 10*time.Second, "between samples of all three")
	long := flags.Duration("for", 3*time.Minute, "how long to watch; longer is steadier")
	cross := flags.Bool("sizes", true, "build for all four processors")
	libraries := flags.Bool("libraries", true, "weigh each library (a dozen builds)")
	running := flags.Bool("running", true, "watch the three run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	dir, err := os.MkdirTemp("", "hearthline-footprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := sizes(ctx, dir, *cross); err != nil {
		return err
	}
	if *libraries {
		if err := weigh(ctx, dir); err != nil {
			return err
		}
	}
	if *running {
		return watch(ctx, dir, *interval, *long)
	}
	return nil
}

// processor is one that hubs have, with the environment that builds for it.
type processor struct {
	name string
	env  []string
	goal float64 // MB
}

var processors = []processor{
	{"amd64", []string{"GOARCH=amd64"}, 8},
	{"arm64", []string{"GOARCH=arm64"}, 8},
	{"armv7", []string{"GOARCH=arm", "GOARM=7"}, 8},
	{"mipsle", []string{"GOARCH=mipsle", "GOMIPS=softfloat"}, 9},
}

// build makes packages small, as scripts/hub does its own, and returns the size of the first program.
func build(ctx context.Context, dir string, env []string, pkg ...string) (int64, error) {
	cmd := exec.CommandContext(ctx, "scripts/hub", append([]string{dir}, pkg...)...)
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("scripts/hub %s with %s: %w: %s", pkg, env, err, text)
	}
	st, err := os.Stat(filepath.Join(dir, filepath.Base(pkg[0])))
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

const mb = 1e6

// sizes prints the programs as scripts/hub builds them for each processor, or for this one only.
func sizes(ctx context.Context, dir string, cross bool) error {
	fmt.Println("programs of a hub as scripts/hub builds them, MB (10^6 bytes)")
	fmt.Printf("  %-8s %12s %6s %13s\n", "", "hearth-agent", "goal", "hearth-assist")
	for _, p := range processors {
		if !cross && p.name != runtime.GOARCH {
			continue
		}
		out := filepath.Join(dir, p.name)
		if err := os.Mkdir(out, 0o700); err != nil {
			return err
		}
		agent, err := build(ctx, out, p.env, "./cmd/hearth-agent", "./cmd/hearth-assist")
		if err != nil {
			return err
		}
		assist, err := os.Stat(filepath.Join(out, "hearth-assist"))
		if err != nil {
			return err
		}
		fmt.Printf("  %-8s %12.2f %6.0f %13.2f\n", p.name, float64(agent)/mb, p.goal, float64(assist.Size())/mb)
	}
	return nil
}

// library is one import with a use that keeps its code in the binary.
type library struct{ name, path, use string }

// In this order each is added to the ones before, so that shared dependencies count once, for the first.
var weighed = []library{
	{"runtime, os, fmt", "fmt", `fmt.Println("x")`},
	{"crypto/tls", "crypto/tls", `c, _ := tls.Dial("tcp", "x", &tls.Config{}); fmt.Println(c)`},
	{"go.etcd.io/bbolt", "go.etcd.io/bbolt", `db, err := bbolt.Open("x", 0, nil); fmt.Println(db.Update(func(tx *bbolt.Tx) error { b, _ := tx.CreateBucket(nil); return b.Put(nil, nil) }), err)`},
	{"fxamacker/cbor", "github.com/fxamacker/cbor/v2", `b, _ := cbor.Marshal(1); fmt.Println(cbor.Unmarshal(b, new(int)))`},
	{"veraison/go-cose", "github.com/veraison/go-cose", `var m cose.Sign1Message; fmt.Println(m.UnmarshalCBOR(nil), m.Verify(nil, nil))`},
	{"encoding/json", "encoding/json", `fmt.Println(json.Unmarshal(nil, nil)); fmt.Println(json.Marshal(1))`},
	{"log/slog", "log/slog", `slog.New(slog.NewTextHandler(nil, nil)).Info("x")`},
	{"net/http (client)", "net/http", `t := &http.Transport{}; fmt.Println(t.RoundTrip(nil))`},
	{"eclipse/paho", "github.com/eclipse/paho.mqtt.golang", `c := mqtt.NewClient(mqtt.NewClientOptions()); c.Connect(); c.Subscribe("x", 1, nil); c.Publish("x", 1, false, nil); c.Disconnect(0)`},
	{"firmware-bridge/linux", "github.com/hearthline/hearthline/firmware-bridge/linux", `d, err := linux.New(linux.Options{}); var i any = d; fmt.Println(i.(fmt.Stringer), err)`},
}

// weigh prints what each library adds to a binary that has the ones above it.
func weigh(ctx context.Context, dir string) error {
	here, err := os.MkdirTemp(".", ".footprint-") // inside the module, so that its versions count
	if err != nil {
		return err
	}
	defer os.RemoveAll(here)
	fmt.Println("\nwhat each adds to those above it, amd64, MB")
	var before int64
	for n := range weighed {
		var imports, uses strings.Builder
		for _, l := range weighed[:n+1] {
			fmt.Fprintf(&imports, "import %q\n", l.path)
			fmt.Fprintf(&uses, "\tif len(os.Args) > 1 { %s }\n", l.use)
		}
		name := filepath.Join(here, "main.go")
		imports.WriteString("import \"os\"\n")
		text := "package main\n" + strings.ReplaceAll(imports.String(), `import "github.com/eclipse`, `import mqtt "github.com/eclipse`) + "func main() {\n" + uses.String() + "}\n"
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return err
		}
		size, err := build(ctx, dir, processors[0].env, "./"+here)
		if err != nil {
			return err
		}
		fmt.Printf("  %-22s %+6.2f   %6.2f\n", weighed[n].name, float64(size-before)/mb, float64(size)/mb)
		before = size
	}
	st, err := os.Stat(filepath.Join(dir, "amd64", "hearth-agent"))
	if err != nil {
		return err
	}
	fmt.Printf("  %-22s %+6.2f   %6.2f\n", "the agent itself", float64(st.Size()-before)/mb, float64(st.Size())/mb)
	return nil
}
