package timeline

import (
	"embed"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/protocol"
)

//go:embed messages/*.json
var messages embed.FS

// texts are loaded on first use; a test proves that they load.
var texts = sync.OnceValue(func() *Texts {
	t, err := LoadTexts(messages, "messages")
	if err != nil {
		panic(err) // the files are part of the program
	}
	return t
})

// Summary says in one line what an entry says, in one of Languages. The actor's name may be given where it
// is known.
func Summary(lang string, e *cloud.Entry, actorName ...string) string {
	lang = Language(lang)
	args := maps.Clone(e.Args)
	if args == nil {
		args = map[string]string{}
	}
	if r := e.Risk; r != nil {
		args["probability"] = strconv.FormatFloat(r.Probability, 'f', 4, 64)
		if len(r.Reasons) > 0 {
			args["reasons"] = reasons(lang, r.Reasons)
		}
	}
	if d := e.Diagnosis; d != nil {
		args["kind"] = d.Request.Kind
		args["segment"] = string(d.Verdict.Segment)
		args["code"] = d.Verdict.Code
	}
	args["actor"] = actor(lang, e.Actor)
	if len(actorName) > 0 && actorName[0] != "" {
		args["actor"] = actorName[0]
	}
	return texts().Say(lang, string(e.Kind), args)
}

// maxReasons is how many reasons a person reads before they turn into noise.
const maxReasons = 3

func reasons(lang string, rs []protocol.Reason) string {
	var parts []string
	for _, r := range rs[:min(len(rs), maxReasons)] {
		parts = append(parts, Reason(lang, r))
	}
	return strings.Join(parts, texts().Say(lang, "list.separator", nil))
}

// Reason says one reason of a risk in words: what it is, what it shows and what it usually shows.
func Reason(lang string, r protocol.Reason) string {
	lang = Language(lang)
	name := texts().Word(lang, "feature", r.Feature)
	if name == r.Feature {
		name = texts().Word(lang, "metric", r.Feature)
	}
	args := map[string]string{
		"name":     name,
		"instance": r.Instance,
		"metric":   r.Feature,
		"value":    strconv.FormatFloat(r.Value, 'f', -1, 64),
		"normal":   strconv.FormatFloat(r.Normal, 'f', -1, 64),
		"share":    strconv.FormatFloat(r.Share, 'f', 4, 64),
	}
	for _, k := range []string{"value", "normal"} {
		if args[k] == "NaN" || args[k] == "+Inf" || args[k] == "-Inf" {
			delete(args, k)
		}
	}
	return texts().Say(lang, "reason", args)
}

// Word says a value of a small vocabulary in words: groups are "segment", "plan", "code", "metric",
// "channel", "feature" and "state".
func Word(lang, group, value string) string { return texts().Word(lang, group, value) }

func actor(lang string, r cloud.Ref) string { return texts().Word(lang, "actor", r.Type) }
