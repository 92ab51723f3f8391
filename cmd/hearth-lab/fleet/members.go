package fleet

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hearthline/hearthline/agent"
	"github.com/hearthline/hearthline/agent/enrol"
	"github.com/hearthline/hearthline/cloud/gateway/ca"
	bridge "github.com/hearthline/hearthline/firmware-bridge"
	"github.com/hearthline/hearthline/firmware-bridge/replay"
	"github.com/hearthline/hearthline/protocol"
)

// Lab issues identities with the cloud's own authority, as if each device had been enrolled.
type Lab struct {
	CA          *ca.CA
	Tenant      string
	Broker      string // host:port, TLS
	CommandKeys []ed25519.PublicKey
	PlanKeys    []ed25519.PublicKey
	First       int // number of the first member; 0 means 1
}

// Identity loads the identity from the data folder, or issues one and keeps it there.
func (l *Lab) Identity(dir, device string) (*agent.Identity, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	id, err := enrol.Load(dir)
	if err == nil {
		id.Broker = l.Broker
		return id, nil
	}
	if !errors.Is(err, enrol.ErrNone) {
		return nil, err
	}
	key, csr, err := enrol.Request(dir)
	if err != nil {
		return nil, err
	}
	cert, err := l.CA.Issue(csr, ca.Identity{Tenant: l.Tenant, Device: device})
	if err != nil {
		return nil, err
	}
	e := protocol.Enrolled{Tenant: l.Tenant, Device: device, Certificate: cert, CA: string(l.CA.PEM()), Broker: l.Broker}
	for _, k := range l.CommandKeys {
		e.CommandKeys = append(e.CommandKeys, k)
	}
	for _, k := range l.PlanKeys {
		e.PlanKeys = append(e.PlanKeys, k)
	}
	return enrol.Adopt(dir, e, key)
}

// Members makes n of them in folders below dir, numbered from First on, over made-up homes. The same n and
// seed give the same homes.
func (l *Lab) Members(dir, prefix string, n int, seed uint64) ([]Member, error) {
	homes, err := Homes(n, seed)
	if err != nil {
		return nil, err
	}
	members := make([]Member, n)
	for i := range members {
		device := fmt.Sprintf("%s%d", prefix, max(l.First, 1)+i)
		folder := filepath.Join(dir, device)
		id, err := l.Identity(folder, device)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", device, err)
		}
		members[i] = Member{Identity: id, Dir: folder, Driver: homes[i]}
	}
	return members, nil
}

// Enrolled loads the identity from the data folder, or enrols with a token of the cloud.
func Enrolled(ctx context.Context, opts enrol.Options) (*agent.Identity, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, err
	}
	id, err := enrol.Load(opts.Dir)
	if errors.Is(err, enrol.ErrNone) {
		return enrol.First(ctx, opts)
	}
	return id, err
}

// distinct is how many different traces are made up; homes beyond that share one from another moment on.
const distinct = 60

// Homes returns drivers over made-up homes, each at its own moment of its trace.
func Homes(n int, seed uint64) ([]bridge.Driver, error) {
	type made struct {
		trace  *replay.Trace
		script replay.Script
	}
	var homes []made
	for i, p := range replay.Profiles(min(n, distinct), seed) {
		trace, script, err := replay.Synthetic(p, seed+uint64(i))
		if err != nil {
			return nil, err
		}
		homes = append(homes, made{trace, script})
	}
	drivers := make([]bridge.Driver, n)
	for i := range drivers {
		h := homes[i%len(homes)]
		d, err := replay.New(replay.Options{Trace: h.trace, Script: h.script, Loop: true, Offset: time.Duration(i/len(homes)) * 97 * time.Second})
		if err != nil {
			return nil, err
		}
		drivers[i] = d
	}
	return drivers, nil
}
