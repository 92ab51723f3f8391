package storetest

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthline/hearthline/cloud/store"
)

// childEnv carries the place to the child process that is going to be killed.
const childEnv = "HEARTH_STORETEST_CHILD"

const (
	crashTenant  = "crash"
	crashWriters = 8
)

// child writes until it is killed. Every transaction of a writer replaces its row "last" and inserts a row
// of its own number, a block and a job, so that half a transaction would show. What is committed is printed.
func child(e Engine, place string) {
	db, err := e.Open(place, Things, Recordings)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(args...) // stdout is not buffered: said is said
	}
	var wg sync.WaitGroup
	for w := range crashWriters {
		wg.Go(func() {
			home := fmt.Sprint("w", w)
			var from int64
			err := db.View(context.Background(), crashTenant, func(tx store.Tx) (err error) {
				from, err = crashCount(tx, home)
				return err
			})
			for n := from; err == nil; n++ {
				err = db.Update(context.Background(), crashTenant, func(tx store.Tx) error { return crashWrite(tx, home, n) })
				if err == nil {
					say("committed", w, n)
				}
			}
			say("error", err)
			os.Exit(1)
		})
	}
	wg.Wait()
}

func crashWrite(tx store.Tx, home string, n int64) error {
	if err := Things.Put(tx, &Thing{Home: "last", N: int64(home[1]), Owner: home, Due: noon.Add(time.Duration(n) * time.Second), Tags: []string{home}}); err != nil {
		return err
	}
	if err := Things.Insert(tx, &Thing{Home: home, N: n, State: "open", Due: noon, Tags: []string{"row"}}); err != nil {
		return err
	}
	if err := Recordings.Insert(tx, []byte(home), home, "d", n, 0); err != nil {
		return err
	}
	return store.Enqueue(tx, store.Job{Queue: home, ID: strconv.FormatInt(n, 10)})
}

// crashCount returns how many rows a writer has, or an error when they are not whole.
func crashCount(tx store.Tx, home string) (int64, error) {
	var n int64
	for v, err := range Things.Scan(tx, store.Range{Prefix: store.Key{home}}) {
		if err != nil {
			return 0, err
		}
		if v.N != n {
			return 0, fmt.Errorf("%s: row %d is missing", home, n)
		}
		n++
	}
	var blocks int64
	for b, err := range Recordings.Scan(tx, store.Range{Prefix: store.Key{home}}) {
		if err != nil {
			return 0, err
		}
		if b.Key[2] != blocks || string(b.Bytes) != home {
			return 0, fmt.Errorf("%s: block %d is %v with %q", home, blocks, b.Key, b.Bytes)
		}
		blocks++
	}
	if blocks != n {
		return 0, fmt.Errorf("%s: %d rows but %d blocks", home, n, blocks)
	}
	var last int64
	if v, err := Things.Get(tx, "last", int64(home[1])); err == nil {
		last = int64(v.Due.Sub(noon)/time.Second) + 1
	}
	if last != n {
		return 0, fmt.Errorf("%s: %d rows but the last transaction was %d", home, n, last)
	}
	return n, nil
}

// testCrash kills a process that writes, again and again at the same place, and looks what is left.
func testCrash(t *testing.T, e Engine) {
	rounds := 3
	if long() {
		rounds = 50
	}
	place := e.New(t)
	var acked [crashWriters]int64
	for round := range rounds {
		commits := runAndKill(t, place, time.Duration(20+rand.IntN(200))*time.Millisecond, &acked)
		if commits == 0 {
			t.Fatalf("round %d: nothing was committed before the kill", round)
		}
		db, err := e.Open(place, Things, Recordings)
		if err != nil {
			t.Fatalf("round %d: open after the kill: %v", round, err)
		}
		view(t, db, crashTenant, func(tx store.Tx) error {
			total := 0
			for w := range crashWriters {
				n, err := crashCount(tx, fmt.Sprint("w", w))
				if err != nil {
					return err
				}
				if n < acked[w] {
					t.Errorf("round %d: writer %d was told of %d commits, %d are there", round, w, acked[w], n)
				}
				total += int(n)
			}
			for index, r := range map[string]store.Range{
				"by_due": {Index: "by_due", Prefix: store.Key{"open"}},
				"by_tag": {Index: "by_tag", Prefix: store.Key{"row"}},
			} {
				ns, err := numbers(tx, r)
				if err != nil {
					return err
				}
				if len(ns) != total {
					t.Errorf("round %d: %d rows but %d in index %s", round, total, len(ns), index)
				}
			}
			return nil
		})
		for w := range crashWriters {
			jobs, err := db.Waiting(context.Background(), fmt.Sprint("w", w), 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			if int64(len(jobs)) < acked[w] {
				t.Errorf("round %d: writer %d has %d jobs, %d were committed", round, w, len(jobs), acked[w])
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// runAndKill starts a child on the place, lets it write for a while after its first commit, kills it, and
// adds what it said to acked.
func runAndKill(t *testing.T, place string, after time.Duration, acked *[crashWriters]int64) (commits int) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"="+place)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }) // should it never commit
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if f[0] != "committed" || len(f) != 3 {
			t.Errorf("child: %s", lines.Text())
			continue
		}
		if commits++; commits == 1 {
			kill.Reset(after)
		}
		w, err1 := strconv.Atoi(f[1])
		n, err2 := strconv.ParseInt(f[2], 10, 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("child: %s", lines.Text())
		}
		acked[w] = max(acked[w], n+1)
	}
	kill.Stop()
	_ = cmd.Wait() // killed, as intended
	return commits
}
