package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"

	"github.com/hearthline/hearthline/cloud/httpapi"
)

// printOpenAPI needs no data folder, so that a build can generate clients from it.
func printOpenAPI(context.Context, []string) error {
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
