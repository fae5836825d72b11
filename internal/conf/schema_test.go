package conf

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tend/internal/spec"
)

func TestSchemaGolden(t *testing.T) {
	got := Schema()
	if *update {
		if err := os.WriteFile("schema.json", got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("schema.json is not that of the field table, see -update:\n%s", diff)
	}
}

// TestSchemaFields checks that every key is in the schema with a description,
// and that each reference leads somewhere.
func TestSchemaFields(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	defs := schema["$defs"].(map[string]any)
	find := func(in map[string]any, key string) map[string]any {
		for part := range strings.SplitSeq(key, ".") {
			properties, _ := in["properties"].(map[string]any)
			in, _ = properties[part].(map[string]any)
		}
		return in
	}
	program, tend := defs["program"].(map[string]any), defs["tend"].(map[string]any)
	for _, f := range spec.Fields {
		for _, p := range []map[string]any{find(program, f.Key), find(tend, "default."+f.Key)} {
			if text, _ := p["description"].(string); !strings.Contains(text, f.Doc) {
				t.Errorf("%s is not in the schema: %v", f.Key, p)
			}
		}
	}
	for _, s := range settings {
		if p := find(tend, s.key); p["description"] != s.doc {
			t.Errorf("[tend] %s is not in the schema: %v", s.key, p)
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok && defs[strings.TrimPrefix(ref, "#/$defs/")] == nil {
				t.Errorf("%s leads nowhere", ref)
			}
			for _, w := range v {
				walk(w)
			}
		case []any:
			for _, w := range v {
				walk(w)
			}
		}
	}
	walk(schema)
}
