package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/cloud/httpapi"
	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

// told is an entry as demo-timeline.json has it.
type told struct {
	ID       protocol.EntryID   `json:"id"`
	At       time.Time          `json:"at"`
	Kind     cloud.Kind         `json:"kind"`
	Subjects []cloud.Ref        `json:"subjects"`
	Actor    cloud.Ref          `json:"actor"`
	Summary  string             `json:"summary"`
	Because  []protocol.EntryID `json:"because"`
}

// printTimeline writes the timeline as a table: when, who, what, and on which line its cause stands.
func printTimeline(out io.Writer, entries []httpapi.EntryView) {
	line := map[protocol.EntryID]int{}
	for i, e := range entries {
		line[e.ID] = i + 1
	}
	fmt.Fprintf(out, "\n%4s  %-12s  %-22s  %-8s  %s\n", "", "time", "who", "because", "what")
	for i, e := range entries {
		because := ""
		for _, id := range e.Because {
			because += fmt.Sprintf("%d ", line[id])
		}
		fmt.Fprintf(out, "%4d  %-12s  %s  %-8s  %s\n", i+1, e.At.Local().Format("15:04:05.000"), pad(e.ActorName, 22), because, timeline.InZone(e.Summary, time.Local))
	}
	fmt.Fprintln(out)
}

// pad makes a name n characters wide.
func pad(s string, n int) string {
	for utf8.RuneCountInString(s) < n {
		s += " "
	}
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func writeTimeline(file string, entries []httpapi.EntryView) error {
	all := make([]told, 0, len(entries))
	for _, e := range entries {
		all = append(all, told{e.ID, e.At, e.Kind, e.Subjects, e.Actor, e.Summary, e.Because})
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return fmt.Errorf("write timeline: %w", err)
	}
	if err := os.WriteFile(file, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write timeline: %w", err)
	}
	return nil
}
