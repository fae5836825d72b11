package logs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "main.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := OpenWriter(path, 20, 2)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	write := func(text string) {
		t.Helper()
		if n, err := w.Write([]byte(text)); err != nil || n != len(text) {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	holds := func(name, want string) {
		t.Helper()
		got, err := os.ReadFile(name)
		if err != nil || string(got) != want {
			t.Errorf("%s holds %q (%v), not %q", filepath.Base(name), got, err, want)
		}
	}
	write("first line\n") // 18 bytes are there now
	holds(path, "before\nfirst line\n")
	write("a whole line stays in one file\n")
	holds(path, "")
	holds(path+".1", "before\nfirst line\na whole line stays in one file\n")
	write("third, which is long\n")
	write("fourth, which is long\n")
	holds(path+".1", "fourth, which is long\n")
	holds(path+".2", "third, which is long\n")
	if _, err := os.Stat(path + ".3"); err == nil {
		t.Error("a third older file is kept")
	}

	// Somebody else has emptied, renamed or removed it.
	write("x\n")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	write("y\n")
	holds(path, "y\n")
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	w.Reopen()
	write("z\n")
	holds(path, "z\n")
	holds(path+".old", "y\n")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write("new\n")
	holds(path, "new\n")

	if _, err := OpenWriter(t.TempDir(), 0, 0); err == nil {
		t.Error("a folder was opened as a log")
	}
}
