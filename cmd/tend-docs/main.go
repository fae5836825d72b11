// Command tend-docs writes the reference pages that are made from the code: the
// keys from the field table, the commands from the command line, and the JSON
// Schema from the loader. It is run from the top folder by make generate; a test
// fails while the pages in docs/reference differ from what it would write.
//
// The other pages are written by hand. The tests beside this command hold them
// to the code as well: examples load, links lead somewhere, commands exist.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"tend/internal/cli"
	"tend/internal/conf"
)

// reference is the folder of the pages, below the top folder.
const reference = "docs/reference"

// A page is a file below reference and what belongs into it.
type page struct {
	name    string
	content []byte
}

func pages() []page {
	schema := conf.Schema()
	return []page{
		{"keys.md", keys(schema)},
		{"commands.md", []byte(cli.Markdown())},
		{"tend.schema.json", schema},
	}
}

func main() {
	for _, p := range pages() {
		if err := os.WriteFile(filepath.Join(reference, p.name), p.content, 0o644); err != nil {
			fmt.Fprintf(os.Stderr, "tend-docs: cannot write a page: %v; run it from the top folder, as make generate does\n", err)
			os.Exit(1)
		}
	}
}
