// Command archtest holds the tree against the import rules of the architecture and fails on a breach.
// It parses imports only, so it also judges a tree that does not compile.
package main

import (
	"fmt"
	"os"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	breaches, packages, err := judge(root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "archtest:", err)
		os.Exit(2)
	}
	for _, b := range breaches {
		fmt.Println(b)
	}
	fmt.Printf("archtest: %d packages, %d breaches\n", packages, len(breaches))
	if len(breaches) > 0 || packages == 0 {
		os.Exit(1)
	}
}
