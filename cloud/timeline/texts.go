package timeline

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Languages are those in which the service speaks, the first being the one to fall back to.
var Languages = []string{"en", "zh-CN", "zh-TW"}

// Language returns the one of Languages that suits a BCP 47 tag or an Accept-Language header best.
func Language(tag string) string {
	for _, part := range strings.Split(tag, ",") {
		t, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		t = strings.ToLower(t)
		switch {
		case t == "zh-tw", t == "zh-hk", t == "zh-mo", strings.HasPrefix(t, "zh-hant"):
			return "zh-TW"
		case t == "zh", strings.HasPrefix(t, "zh-"):
			return "zh-CN"
		case t == "en", strings.HasPrefix(t, "en-"):
			return "en"
		}
	}
	return Languages[0]
}

// Texts holds what the service can say, in every language, as templates by key:
//
//	{name}         the argument as it is
//	{name:word}    the text of key "word.value", for values that are themselves keys ("segment.isp"); an
//	               empty text counts as a missing argument
//	{name:values}  the values of a list like "resolver=203.0.113.9, order=2", without the names
//	{name:percent} a ratio of 0..1 as a percentage
//	{name:reading} a value of the metric in argument "metric", with its unit
//	[ ... ]        left out when an argument within it is missing
//
// A moment stays in RFC 3339: only what shows a text knows its reader's time zone. InZone shows it in one.
//
// It is safe for concurrent use.
type Texts struct{ byLang map[string]map[string]string }

// Embedded reads texts that are part of the program, in its folder messages, when they are first asked for; a
// test of whoever has them proves that they can be read.
func Embedded(files fs.FS) func() *Texts {
	return sync.OnceValue(func() *Texts {
		t, err := LoadTexts(files, "messages")
		if err != nil {
			panic(err)
		}
		return t
	})
}

// LoadTexts reads {language}.json for each of Languages from a folder. Every language must have the same
// keys, each with the same arguments, so that none can fall behind the others.
func LoadTexts(files fs.FS, dir string) (*Texts, error) {
	t := &Texts{map[string]map[string]string{}}
	for _, lang := range Languages {
		b, err := fs.ReadFile(files, path.Join(dir, lang+".json"))
		if err != nil {
			return nil, fmt.Errorf("load texts: %w", err)
		}
		m := map[string]string{}
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("load texts %s: %w", lang, err)
		}
		t.byLang[lang] = m
	}
	first := t.byLang[Languages[0]]
	for _, lang := range Languages[1:] {
		for key, text := range first {
			other, ok := t.byLang[lang][key]
			if !ok {
				return nil, fmt.Errorf("texts in %s lack %q", lang, key)
			}
			if a, b := slots(text), slots(other); a != b {
				return nil, fmt.Errorf("texts in %s: %q fills in %s, but %s in %s", lang, key, b, a, Languages[0])
			}
		}
		if a, b := len(first), len(t.byLang[lang]); a != b {
			return nil, fmt.Errorf("texts in %s have %d keys, those in %s %d", lang, b, Languages[0], a)
		}
	}
	return t, nil
}

var moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)`)

// InZone returns a text with its moments, which are in RFC 3339, as date and time in a reader's zone. What only
// looks like a moment stays as it is.
func InZone(text string, zone *time.Location) string {
	return moment.ReplaceAllStringFunc(text, func(s string) string {
		at, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return s
		}
		return at.In(zone).Format(time.DateTime)
	})
}

var slot = regexp.MustCompile(`\{([a-z_]+)(?::([a-z]+))?\}`)

// slots lists the arguments of a template, in a form that does not depend on their order.
func slots(text string) string {
	names := map[string]bool{}
	for _, m := range slot.FindAllStringSubmatch(text, -1) {
		names[m[0]] = true
	}
	return fmt.Sprint(names)
}

// Has tells whether there is a text for key.
func (t *Texts) Has(key string) bool { return t.byLang[Languages[0]][key] != "" }

// Say fills the text of key with args. A key that nobody wrote a text for is returned as it is: it shows
// what is missing without hiding what happened.
func (t *Texts) Say(lang, key string, args map[string]string) string {
	texts, ok := t.byLang[lang]
	if !ok {
		texts = t.byLang[Language(lang)]
	}
	text, ok := texts[key]
	if !ok {
		return key
	}
	var out strings.Builder
	for text != "" {
		open := strings.IndexByte(text, '[')
		if open < 0 {
			break
		}
		end := open + strings.IndexByte(text[open:], ']')
		if end < open {
			break
		}
		s, _ := fill(texts, text[:open], args)
		out.WriteString(s)
		if s, whole := fill(texts, text[open+1:end], args); whole {
			out.WriteString(s)
		}
		text = text[end+1:]
	}
	s, _ := fill(texts, text, args)
	out.WriteString(s)
	return out.String()
}

// Word returns the text of "group.value", or value itself when there is none.
func (t *Texts) Word(lang, group, value string) string {
	if s, ok := t.byLang[Language(lang)][group+"."+value]; ok {
		return s
	}
	return value
}

// fill replaces the slots of a piece of a template; whole is false when an argument was missing.
func fill(texts map[string]string, piece string, args map[string]string) (s string, whole bool) {
	whole = true
	s = slot.ReplaceAllStringFunc(piece, func(m string) string {
		g := slot.FindStringSubmatch(m)
		v := args[g[1]]
		if v == "" {
			whole = false
			return "?"
		}
		switch g[2] {
		case "":
			return v
		case "percent":
			return Percent(v)
		case "values":
			return values(v)
		case "reading":
			return Reading(args["metric"], v)
		}
		if w, ok := texts[g[2]+"."+v]; ok {
			whole = whole && w != ""
			return w
		}
		return v
	})
	return s, whole
}

// values leaves the names out of a list of "name=value".
func values(list string) string {
	parts := strings.Split(list, ", ")
	for i, part := range parts {
		if _, v, ok := strings.Cut(part, "="); ok {
			parts[i] = v
		}
	}
	return strings.Join(parts, ", ")
}

// Percent shows a ratio of 0..1, given in decimal, as a percentage; less than a hundredth of a percent is 0.
func Percent(ratio string) string {
	f, err := strconv.ParseFloat(ratio, 64)
	if err != nil {
		return ratio
	}
	if math.Abs(f) < 1e-4 {
		f = 0
	}
	return short(f*100) + "%"
}

// Reading shows a value of a metric with the unit that the metric's name carries.
func Reading(metric, value string) string {
	f, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return value
	}
	switch _, unit, _ := strings.Cut(lastPart(metric), "_"); {
	case strings.HasSuffix(metric, "_ratio"):
		return Percent(value)
	case unit == "ms", unit == "mbps", unit == "s":
		return short(f) + " " + map[string]string{"ms": "ms", "mbps": "Mbit/s", "s": "s"}[unit]
	case unit == "dbm":
		return short(f) + " dBm"
	case unit == "celsius":
		return short(f) + " °C"
	case strings.HasSuffix(unit, "bytes"):
		return short(f/(1<<20)) + " MiB"
	}
	return short(f)
}

func lastPart(metric string) string { return metric[strings.LastIndexByte(metric, '.')+1:] }

// short keeps three digits: nobody reads more.
func short(f float64) string {
	if f >= 100 || f <= -100 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	s := strconv.FormatFloat(f, 'g', 3, 64)
	if strings.Contains(s, "e") { // below a ten-thousandth
		return strconv.FormatFloat(f, 'f', 6, 64)
	}
	return s
}
