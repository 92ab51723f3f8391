package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/hearthline/hearthline/"

// breach is one broken rule, with the file that breaks it.
type breach struct{ file, rule string }

func (b breach) String() string { return b.file + ": " + b.rule }

// judge reads every Go file below root and returns the breaches in order of file, and the number of packages.
func judge(root string) ([]breach, int, error) {
	var breaches []breach
	documented := map[string]bool{} // package folder -> has a package comment
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); file != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		pkg, test := path.Dir(rel), strings.HasSuffix(rel, "_test.go")
		if !test {
			documented[pkg] = documented[pkg] || f.Doc != nil
		}
		for _, spec := range f.Imports {
			to, _ := strconv.Unquote(spec.Path.Value)
			if to, ours := strings.CutPrefix(to, module); ours {
				if rule := refuse(pkg, to, test); rule != "" {
					breaches = append(breaches, breach{rel, fmt.Sprintf("imports %s: %s", to, rule)})
				}
			}
			if rule := refuseLibrary(pkg, to); rule != "" && !test {
				breaches = append(breaches, breach{rel, fmt.Sprintf("imports %s: %s", to, rule)})
			}
		}
		return nil
	})
	for pkg, ok := range documented {
		if !ok {
			breaches = append(breaches, breach{pkg, "no file of the package has a package comment"})
		}
	}
	slices.SortFunc(breaches, func(a, b breach) int { return strings.Compare(a.String(), b.String()) })
	return breaches, len(documented), err
}

// openToAll are the packages of a side that every other package of that side may import.
var openToAll = map[string][]string{
	"agent": {"agent"},
	"cloud": {"cloud", "cloud/store", "cloud/timeline"},
}

// refuse returns why package from may not import package to, or "" when it may. Tests may also use the
// packages that exist for tests, and the engines behind the store.
func refuse(from, to string, test bool) string {
	fromTop, toTop := top(from), top(to)
	switch {
	case fromTop == "scripts" || from == to:
		return ""
	case toTop == "cmd" && fromTop != "cmd":
		return "nobody outside cmd imports cmd"
	case toTop == "scripts":
		return "nobody imports scripts"
	case fromTop == "protocol" && toTop != "protocol":
		return "protocol imports nobody"
	case fromTop == "firmware-bridge" && toTop != "firmware-bridge" && toTop != "protocol":
		return "firmware-bridge imports only protocol"
	case fromTop == "agent" && toTop == "cloud", fromTop == "cloud" && toTop == "agent":
		return "agent and cloud never import each other"
	case fromTop == "agent" && toTop == "firmware-bridge" && from != "agent/app" && from != "agent/assist" && to != "firmware-bridge" && !test:
		return "only agent/app and agent/assist know the drivers"
	}
	if (fromTop != "agent" && fromTop != "cloud") || fromTop != toTop || wires(from) || test {
		return ""
	}
	if room(from) == room(to) || slices.Contains(openToAll[toTop], to) || from == toTop {
		return ""
	}
	if from == "cloud/httpapi" && !strings.HasPrefix(to, "cloud/store/") {
		return ""
	}
	return "a package does not know its siblings: declare the methods it needs and let app pass them in"
}

// refuseLibrary keeps libraries where the design wants them.
func refuseLibrary(from, to string) string {
	agent := top(from) == "agent" || top(from) == "firmware-bridge" || top(from) == "protocol" || from == "cmd/hearth-agent"
	switch {
	case strings.HasPrefix(to, "github.com/spf13/viper") && agent:
		return "viper would add a third to the agent's binary"
	case strings.HasPrefix(to, "github.com/pion/") && agent && from != "agent/assist":
		return "only the assist process links pion"
	case (strings.HasPrefix(to, "github.com/jackc/pgx") || to == "database/sql") && top(from) == "cloud" && !strings.HasPrefix(from, "cloud/store/postgres"):
		return "nothing in cloud but store/postgres knows SQL"
	}
	return ""
}

// wires reports whether a package exists to put siblings together.
func wires(pkg string) bool {
	return pkg == "agent/app" || pkg == "cloud/app" || pkg == "agent/assist"
}

// top is the top-level folder of a package.
func top(pkg string) string {
	first, _, _ := strings.Cut(pkg, "/")
	return first
}

// room is the folder below the top level that a package belongs to: cloud/store/bolt is in the room cloud/store.
func room(pkg string) string {
	parts := strings.SplitN(pkg, "/", 3)
	if len(parts) < 2 {
		return pkg
	}
	return parts[0] + "/" + parts[1]
}
