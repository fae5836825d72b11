package logs

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// BenchmarkCapture carries 1 GiB a round, from a program to files rotated at
// 50 MB, beside `cat > file` on the same pipe. cpu-s is the CPU time of the
// carrier alone: the program is another process.
//
//	go test -run - -bench Capture -benchtime 1x ./internal/logs
func BenchmarkCapture(b *testing.B) {
	for _, size := range []int{64 << 10, 100} {
		name := "100B"
		if size > 1000 {
			name = "64KiB"
		}
		const total = 1 << 30
		b.Run(name+"/tend", func(b *testing.B) {
			c, _ := open(b, Config{})
			path := logPath(b)
			s, w := pipe(b, c, Options{Path: path, MaxSize: 50 << 20, Keep: 2})
			b.SetBytes(total)
			before := cpu()
			for b.Loop() {
				flood(b, w, size, total)
				drained(b, s)
			}
			b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/op")
		})
		b.Run(name+"/cat", func(b *testing.B) {
			path := logPath(b)
			b.SetBytes(total)
			var used time.Duration
			for b.Loop() {
				r, w, err := os.Pipe()
				if err != nil {
					b.Fatal(err)
				}
				f, err := os.Create(path)
				if err != nil {
					b.Fatal(err)
				}
				cat := exec.Command("cat")
				cat.Stdin, cat.Stdout = r, f
				if err := cat.Start(); err != nil {
					b.Fatal(err)
				}
				r.Close()
				flood(b, w, size, total)
				w.Close()
				if err := cat.Wait(); err != nil {
					b.Fatal(err)
				}
				f.Close()
				used += cat.ProcessState.SystemTime() + cat.ProcessState.UserTime()
			}
			b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// flood has another process write total bytes, size at a time, lines of 100.
func flood(b *testing.B, w *os.File, size, total int) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LOGS_TEST_ROLE=bulk")
	cmd.Args = append(cmd.Args[:1], strconv.Itoa(size), strconv.Itoa(total))
	cmd.Stdout = w
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
}

// bulk is the other process.
func bulk(out io.Writer, size, total int) error {
	line := strings.Repeat("x", 99) + "\n"
	p := []byte(strings.Repeat(line, size/len(line)+1)[:size])
	for ; total > 0; total -= size {
		if _, err := out.Write(p[:min(size, total)]); err != nil {
			return err
		}
	}
	return nil
}

func BenchmarkLatency(b *testing.B) {
	for b.Loop() {
		all := latencies(b, 1000)
		b.ReportMetric(float64(all[len(all)/2].Microseconds()), "µs-median")
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "µs-p99")
	}
}

// BenchmarkIdleStreams measures what a stream costs that says nothing.
func BenchmarkIdleStreams(b *testing.B) {
	c, _ := open(b, Config{})
	const n = 2000
	for b.Loop() {
		before := heap()
		all := make([]*Stream, n)
		for i := range all {
			var err error
			if all[i], err = c.Pipe("web", Options{Path: "/nowhere/web.log", Mode: None, UID: -1, GID: -1}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/n, "heap-B/stream")
		for _, s := range all {
			_ = s.Close()
		}
	}
}

// BenchmarkCook measures what is made of 64 KiB of lines of 100 bytes.
func BenchmarkCook(b *testing.B) {
	p := []byte(strings.Repeat(strings.Repeat("x", 99)+"\n", 655))
	for _, r := range []Recipe{{Timestamp: true}, {JSON: true}, {StripANSI: true}, {JSON: true, StripANSI: true}} {
		b.Run(fmt.Sprintf("stamp=%v,json=%v,strip=%v", r.Timestamp, r.JSON, r.StripANSI), func(b *testing.B) {
			var k cook
			var out []byte
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				k.begin(&r, time.Now())
				out, _, _ = k.do(out[:0], p, spot{})
			}
		})
	}
}
