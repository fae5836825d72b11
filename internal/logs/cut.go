package logs

import "bytes"

// cut says how many of the waiting bytes p go into a file that holds off bytes
// and is to hold at most limit (0: any number), or that the file is to be
// rotated first. midLine says that the file's last byte is no line end.
//
// The files' concatenation is the stream, whatever cut decides; what it decides
// is where they part:
//   - after a line end, where there is one;
//   - before a line that doesn't fit, unless its beginning is in the file;
//   - within such a line, when the file reaches 2 × limit.
//
// It takes at least one byte or asks for a rotation, and never asks for one of
// an empty file. p must not be empty.
func cut(p []byte, off, limit int64, midLine bool) (n int, rotate bool) {
	if limit <= 0 {
		return len(p), false
	}
	room := limit - off
	for n < len(p) {
		line := int64(len(firstLine(p[n:])))
		if line > room {
			break
		}
		room -= line
		n += int(line)
	}
	if n > 0 {
		return n, false
	}
	hard := 2*limit - off
	if off > 0 && (!midLine || hard <= 0) {
		return 0, true
	}
	return int(max(1, min(int64(len(firstLine(p))), hard))), false
}

// firstLine returns p up to and with its first line end, or all of it.
func firstLine(p []byte) []byte {
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return p[:i+1]
	}
	return p
}
