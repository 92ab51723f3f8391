package timeline

import (
	"cmp"
	"embed"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hearthline/hearthline/cloud"
	"github.com/hearthline/hearthline/protocol"
)

//go:embed messages/*.json
var messages embed.FS

var texts = Embedded(messages)

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
	if c := args["cohort"]; c != "" {
		args["cohort"] = Cohort(lang, c)
	}
	args["actor"] = actor(lang, e.Actor)
	if len(actorName) > 0 && actorName[0] != "" {
		args["actor"] = actorName[0]
	}
	return texts().Say(lang, string(e.Kind), args)
}

// dimensions are what devices can have in common, in the order in which it is said.
var dimensions = []string{"model", "firmware", "hardware", "region", "isp"}

// Cohort says in words what devices have in common, "model HL-2 with firmware 3.9.2", given it by name as
// outbreak.Cohort writes it; what is in no such form is returned as it is.
func Cohort(lang, names string) string {
	q, err := url.ParseQuery(names)
	if err != nil {
		return names
	}
	var out string
	for _, d := range dimensions {
		v := q.Get(d)
		if v == "" {
			continue
		}
		if out != "" {
			out += texts().Word(lang, "cohort.joined", d)
		}
		out += texts().Say(lang, "cohort."+d, map[string]string{"value": v})
	}
	return cmp.Or(out, names)
}

// maxReasons is how many reasons a person reads before they turn into noise.
const maxReasons = 3

func reasons(lang string, rs []protocol.Reason) string {
	// A signal that reads as usual is a reason by what it did before; others say more.
	telling := slices.DeleteFunc(slices.Clone(rs), usual)
	if len(telling) == 0 {
		telling = rs
	}
	var parts []string
	for _, r := range telling[:min(len(telling), maxReasons)] {
		parts = append(parts, Reason(lang, r))
	}
	return strings.Join(parts, texts().Say(lang, "list.separator", nil))
}

// usual reports whether a reason's value reads the same as what it usually is.
func usual(r protocol.Reason) bool {
	read := func(v float64) string { return Reading(r.Feature, strconv.FormatFloat(v, 'f', -1, 64)) }
	return read(r.Value) == read(r.Normal)
}

// Reason says one reason of a risk in words: what it is, what it shows and what it usually shows,
// where these differ.
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
		if args[k] == "NaN" || args[k] == "+Inf" || args[k] == "-Inf" || usual(r) {
			delete(args, k)
		}
	}
	return texts().Say(lang, "reason", args)
}

// Word says a value of a small vocabulary in words: groups are "segment", "plan", "code", "metric",
// "channel", "feature" and "state".
func Word(lang, group, value string) string { return texts().Word(lang, group, value) }

func actor(lang string, r cloud.Ref) string { return texts().Word(lang, "actor", r.Type) }
