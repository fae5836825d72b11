#define _GNU_SOURCE
// carry is the least that a logger can be: it reads standard input and writes what
// it got into a file, which it renames at the end of a line when it is full.
//
//   carry FILE LIMIT
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int out;
static const char *name;
static long long size;

static void all(const char *p, size_t n) {
	size += n;
	while (n > 0) {
		ssize_t m = write(out, p, n);
		if (m < 0)
			exit(1);
		p += m;
		n -= m;
	}
}

static void begin(void) {
	out = open(name, O_CREAT | O_WRONLY | O_TRUNC, 0640);
	if (out < 0)
		exit(1);
	size = 0;
}

int main(int argc, char **argv) {
	static char buf[65536];
	if (argc != 3)
		return 2;
	name = argv[1];
	long long limit = atoll(argv[2]);
	int files = 0;
	begin();
	for (;;) {
		ssize_t n = read(0, buf, sizeof buf);
		if (n <= 0)
			return n < 0;
		if (size + n > limit) {
			char *end = memrchr(buf, '\n', limit - size < n ? limit - size : n);
			size_t k = end ? end + 1 - buf : 0;
			all(buf, k);
			close(out);
			char old[4096];
			snprintf(old, sizeof old, "%s.%05d", name, ++files);
			rename(name, old);
			begin();
			all(buf + k, n - k);
			continue;
		}
		all(buf, n);
	}
}
