// writer is the program whose output is carried: numbered lines of 100 bytes on
// standard output, so many bytes at a time.
//
//   writer TOTAL SIZE RESULT   writes TOTAL bytes, then how long that took and how
//                              much CPU, in ns, into the file RESULT
//   writer echo FIFO           for each byte that comes in FIFO, a line that says
//                              when it was written: CLOCK_MONOTONIC, in ns
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static long long now(clockid_t clock) {
	struct timespec t;
	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void all(const char *p, size_t n) {
	while (n > 0) {
		ssize_t m = write(1, p, n);
		if (m < 0)
			exit(1);
		p += m;
		n -= m;
	}
}

int main(int argc, char **argv) {
	if (argc == 3) {
		int fifo = open(argv[2], O_RDWR);
		char c, line[64];
		while (read(fifo, &c, 1) == 1)
			all(line, snprintf(line, sizeof line, "%lld\n", now(CLOCK_MONOTONIC)));
		return 1;
	}
	if (argc != 4)
		return 2;
	long long total = atoll(argv[1]), size = atoll(argv[2]);
	char *buf = malloc(size + 100);
	long long line = 0, have = 0;
	long long began = now(CLOCK_MONOTONIC);
	for (long long done = 0; done < total;) {
		while (have < size) {
			char *p = buf + have, number[12];
			memset(p, 'x', 99);
			snprintf(number, sizeof number, "%010lld", line++);
			memcpy(p, number, 10);
			p[10] = ' ';
			p[99] = '\n';
			have += 100;
		}
		long long n = size < total - done ? size : total - done;
		all(buf, n);
		done += n;
		have -= n;
		memmove(buf, buf + n, have);
	}
	FILE *f = fopen(argv[3], "w");
	fprintf(f, "%lld %lld\n", now(CLOCK_MONOTONIC) - began, now(CLOCK_PROCESS_CPUTIME_ID));
	return fclose(f) != 0;
}
