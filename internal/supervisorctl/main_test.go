package supervisorctl

import (
	"os"
	"path/filepath"
	"testing"
)

// asProgram makes the test binary be supervisorctl, so that tests have it as a
// process of its own, with signals and an exit status.
const asProgram = "TEND_TEST_SUPERVISORCTL"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(Main(os.Args, os.Stdin, os.Stdout, os.Stderr, os.Environ()))
	}
	os.Exit(m.Run())
}

// shared returns a folder of the material about supervisord, or skips the test:
// it is kept beside the project, not in it.
func shared(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
	}
	folder := filepath.Join(filepath.Dir(dir), "shared", "supervisord", name)
	if _, err := os.Stat(folder); err != nil {
		t.Skipf("no material about supervisord: %v", err)
	}
	return folder
}
