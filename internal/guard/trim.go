package guard

import (
	"bufio"
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Trim lets go of the pages of the binary: most of what a process has mapped of
// it only its beginning has needed. What is needed again is mapped again, out of
// the page cache, at the first touch (madvise(2), MADV_DONTNEED).
//
// Only mappings are touched of which no page is our own: a page that differs from
// the file would be lost. Those that can be written are left out for that, and
// those that could be once, in which the dynamic linker has put addresses (RELRO):
// they hold anonymous pages.
func Trim() {
	smaps, err := os.Open("/proc/self/smaps") // Linux with CONFIG_PROC_PAGE_MONITOR
	if err != nil {
		return
	}
	defer smaps.Close()
	var from, to uintptr
	pristine := 0 // how many of the two fields that must be 0 are, of this mapping
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		line := lines.Bytes()
		switch key, value, _ := bytes.Cut(line, []byte(":")); {
		case len(line) > 0 && (line[0] >= 'a' || line[0] <= '9'): // the head of a mapping, in small hexadecimal digits
			var perm, offset, device string
			var inode uint64
			n, _ := fmt.Sscanf(string(line), "%x-%x %s %s %s %d", &from, &to, &perm, &offset, &device, &inode)
			if pristine = 0; n < 6 || inode == 0 || perm[1] == 'w' {
				pristine = -2
			}
		case (string(key) == "Anonymous" || string(key) == "Swap") && string(bytes.TrimSpace(value)) == "0 kB":
			if pristine++; pristine == 2 {
				unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
			}
		}
	}
}
