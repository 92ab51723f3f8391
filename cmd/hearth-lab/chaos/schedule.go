package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// role is what a machine of the lab is for.
type role string

const (
	cloudRole  role = "cloud"
	brokerRole role = "broker"
	hubRole    role = "agent"
)

// kind is a kind of fault.
type kind struct {
	name  string
	on    []role // of the machines that it may hit
	track string // faults of one track follow each other, those of different tracks overlap
	most  time.Duration
	exact bool // it lasts for most, and not for a part of that
	disk  bool // needs disks of its own
	trouble
}

// fault is one thing that goes wrong: after a pause, on one machine, for a while.
type fault struct {
	kind    *kind
	machine int // number of the machine
	pause   time.Duration
	hold    time.Duration
	jump    time.Duration // of a clock
}

func (f fault) String() string {
	s := fmt.Sprintf("%-16s machine %-2d for %s", f.kind.name, f.machine, f.hold.Round(time.Millisecond))
	if f.jump != 0 {
		s += " by " + f.jump.String()
	}
	return s
}

// jumps are by how much clocks are wrong: what summer time, time zones, dead batteries and typing errors make.
var jumps = []time.Duration{
	-20 * year, -year, -5 * time.Hour, -40 * time.Minute, 40 * time.Minute, 5 * time.Hour, year, 20 * year,
}

const year = 365 * 24 * time.Hour

// schedule is what goes wrong in a run of the given length on machines of the given roles, by track. It
// depends on nothing else. On each track every kind comes once before any comes twice.
func schedule(seed uint64, length time.Duration, kinds []kind, machines []role) map[string][]fault {
	tracks := map[string][]*kind{}
	for i := range kinds {
		k := &kinds[i]
		if slices.ContainsFunc(machines, func(r role) bool { return slices.Contains(k.on, r) }) {
			tracks[k.track] = append(tracks[k.track], k)
		}
	}
	plan := map[string][]fault{}
	for name, kinds := range tracks {
		r := rand.New(rand.NewPCG(seed, hash(name)))
		var at time.Duration
		for order := r.Perm(len(kinds)); ; order = order[1:] {
			if len(order) == 0 {
				order = r.Perm(len(kinds))
			}
			f := draw(r, kinds[order[0]], machines, length)
			if at += f.pause + f.hold; at > length {
				break
			}
			plan[name] = append(plan[name], f)
		}
	}
	return plan
}

func draw(r *rand.Rand, k *kind, machines []role, length time.Duration) fault {
	f := fault{kind: k, pause: time.Second + rand0(r, 4*time.Second), hold: min(k.most, length/8), machine: pick(r, machines, k.on)}
	if k.exact {
		f.hold = min(k.most, length/4)
	} else {
		f.hold = f.hold/4 + rand0(r, f.hold*3/4)
	}
	if _, ok := k.trouble.(clockJump); ok {
		f.jump = jumps[r.IntN(len(jumps))]
	}
	return f
}

// killings is a schedule of nothing but kill -9, n of them in a tight row, of which the cloud takes a quarter.
func killings(seed uint64, n int, machines []role) []fault {
	r := rand.New(rand.NewPCG(seed, hash("kills")))
	plan := make([]fault, n)
	for i := range plan {
		on := hubRole
		if r.IntN(4) == 0 {
			on = cloudRole
		}
		if slices.Contains(machines, brokerRole) && r.IntN(10) == 0 {
			on = brokerRole
		}
		plan[i] = fault{
			kind: &kind{name: "kill_" + string(on), trouble: kill{}}, machine: pick(r, machines, []role{on}),
			pause: rand0(r, 1200*time.Millisecond),
		}
	}
	return plan
}

// pick draws a machine of one of the roles.
func pick(r *rand.Rand, machines, roles []role) int {
	var of []int
	for i, m := range machines {
		if slices.Contains(roles, m) {
			of = append(of, i)
		}
	}
	return of[r.IntN(len(of))]
}

func rand0(r *rand.Rand, below time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(below) + 1))
}

// hash is FNV-1a.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}
