package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/hearthline/hearthline/cloud/httpapi"
)

// printOpenAPI needs no data folder, so that a build can generate clients from it.
func printOpenAPI(_ context.Context, args []string) error {
	f := pflag.NewFlagSet("hearth-cloud openapi", pflag.ContinueOnError) // it has none
	if err := f.Parse(args); err != nil {
		return helped(err)
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	api, err := httpapi.New(httpapi.Options{Version: version})
	if err != nil {
		return err
	}
	doc, err := api.OpenAPI()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, doc, "", " "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = out.WriteTo(os.Stdout)
	return err
}
