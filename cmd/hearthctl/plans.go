package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/hearthline/hearthline/protocol"
)

// standard are the plans that Hearthline comes with: what may be done, on what, and how it proves itself.
//
//go:embed plans/*.json
var standard embed.FS

func makeKeys(_ context.Context, args []string) error {
	f := pflag.NewFlagSet("hearthctl keys", pflag.ContinueOnError)
	private := f.String("out", "plan-key.pem", "new file for the private key; keep it offline")
	public := f.String("public", "plan-keys.pem", "new file for the public key; the service and the devices get it")
	if err := f.Parse(args); err != nil {
		return err
	}
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeNew(*private, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	if der, err = x509.MarshalPKIXPublicKey(pub); err != nil {
		return err
	}
	if err := writeNew(*public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644); err != nil {
		return err
	}
	fmt.Printf("private key: %s (sign plans with it, and keep it off every server)\npublic key:  %s\n", *private, *public)
	return nil
}

// writeNew never replaces a file: a lost key cannot be made again.
func writeNew(path string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

func signPlans(_ context.Context, args []string) error {
	f := pflag.NewFlagSet("hearthctl plans", pflag.ContinueOnError)
	keyFile := f.String("key", "plan-key.pem", "private key, made by hearthctl keys")
	tenant := f.String("tenant", "home", "tenant whose devices may be changed")
	out := f.String("out", "plans", "folder for the signed plans, made when missing; older ones there are replaced")
	from := f.String("from", "", "folder of your own plans (*.json); empty signs the standard ones")
	only := f.StringSlice("only", nil, "ids of plans to sign; empty signs all")
	days := f.Int("days", 365, "days until they expire")
	within := f.Duration("within", 0, "time the checks of every fix have to come true; 0 keeps what the plan says")
	resolvers := f.StringSlice("resolvers", nil, "name servers that switch-resolver may choose; empty allows any that the hub knows")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *days < 1 {
		return fmt.Errorf("--days is %d, want 1 or more: a plan that has expired does nothing", *days)
	}
	key, err := readKey(*keyFile)
	if err != nil {
		return err
	}
	files, err := fs.Sub(standard, "plans")
	if *from != "" {
		files = os.DirFS(*from)
	}
	if err != nil {
		return err
	}
	names, err := fs.Glob(files, "*.json")
	if err != nil || len(names) == 0 {
		return errors.Join(err, errors.New("there are no plans to sign"))
	}
	var plans []protocol.Plan
	var ids []string
	for _, name := range names {
		p, err := readPlan(files, name)
		if err != nil {
			return err
		}
		plans, ids = append(plans, p), append(ids, p.ID)
	}
	for _, id := range *only {
		if !slices.Contains(ids, id) {
			return fmt.Errorf("--only: there is no plan %q, only %s", id, strings.Join(ids, ", "))
		}
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}
	for i, p := range plans {
		if len(*only) > 0 && !slices.Contains(*only, p.ID) {
			continue
		}
		p.Version, p.Tenant, p.NotAfter = protocol.Version, *tenant, time.Now().AddDate(0, 0, *days).Unix()
		if *within > 0 && p.Verb == protocol.VerbFix {
			p.WithinS = int64(within.Seconds())
		}
		if p.Action.Kind == "dns.switch" && len(*resolvers) > 0 {
			p.Choices["resolver"] = *resolvers
		}
		path := filepath.Join(*out, p.ID+".plan")
		if err := sign(path, &p, key); err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
		fmt.Printf("%-28s %s until %s\n", path, p.Verb, time.Unix(p.NotAfter, 0).UTC().Format(time.DateOnly))
	}
	return nil
}

func readPlan(files fs.FS, name string) (p protocol.Plan, err error) {
	b, err := fs.ReadFile(files, name)
	if err != nil {
		return p, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("plan %s: %w", name, err)
	}
	return p, nil
}

// sign writes a plan that has passed the same checks that the devices make.
func sign(path string, p *protocol.Plan, key ed25519.PrivateKey) error {
	payload, err := protocol.Marshal(p)
	if err != nil {
		return err
	}
	if err := protocol.Unmarshal(payload, new(protocol.Plan)); err != nil {
		return err
	}
	b, err := protocol.Sign(protocol.PurposePlan, payload, key)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

func readKey(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key in PEM", path)
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := k.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds a %T, want Ed25519", path, k)
	}
	return key, nil
}

func showPlan(_ context.Context, args []string) error {
	f := pflag.NewFlagSet("hearthctl show FILE.plan", pflag.ContinueOnError)
	public := f.String("public", "plan-keys.pem", "public keys whose signature counts")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() != 1 {
		return errors.New("give one signed plan")
	}
	b, err := os.ReadFile(*public)
	if err != nil {
		return err
	}
	var keys []ed25519.PublicKey
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		k, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", *public, err)
		}
		if ed, ok := k.(ed25519.PublicKey); ok {
			keys = append(keys, ed)
		}
	}
	if b, err = os.ReadFile(f.Arg(0)); err != nil {
		return err
	}
	payload, err := protocol.Verify(protocol.PurposePlan, b, keys)
	if err != nil {
		return err
	}
	var p protocol.Plan
	if err := protocol.Unmarshal(payload, &p); err != nil {
		return err
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", strings.Repeat(" ", 2))
	return e.Encode(p)
}
