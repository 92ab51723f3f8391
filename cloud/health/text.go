package health

import (
	"embed"
	"maps"
	"math"

	"github.com/hearthline/hearthline/cloud/timeline"
	"github.com/hearthline/hearthline/protocol"
)

//go:embed messages/*.json
var messages embed.FS

var texts = timeline.Embedded(messages)

// Text puts a reason in words, in a language of timeline.Languages.
func Text(lang string, r Reason) string {
	if r.Feature != "" {
		reason := protocol.Reason{Feature: r.Feature, Instance: r.Instance, Value: math.NaN(), Normal: math.NaN()}
		if r.Value != nil {
			reason.Value = *r.Value
		}
		if r.Normal != nil {
			reason.Normal = *r.Normal
		}
		return timeline.Reason(lang, reason)
	}
	args := maps.Clone(r.Args)
	if c := args["cohort"]; c != "" {
		args["cohort"] = timeline.Cohort(lang, c)
	}
	return texts().Say(timeline.Language(lang), r.Key, args)
}

// BlameText says whose fault it is, in a language of timeline.Languages.
func BlameText(lang string, s protocol.Segment) string {
	return texts().Word(lang, "blame", string(s))
}
