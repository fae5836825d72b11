/*
 * probe is the program that every supervisor of the benchmark guards.
 *
 *	probe DIR:SLOT[x][,ANYTHING]
 *
 * It takes the time (CLOCK_MONOTONIC) as its first act, leaves it with its pid
 * in its slot of the board, a file that it maps, and sleeps for ever; with an x
 * it exits at once. Only the start that makes the target full wakes whoever
 * waits, so that watching a thousand starts costs one wake-up.
 *
 * It keeps DIR/alive, a FIFO, open for writing: its reader sees a hang-up when
 * the last program is gone.
 *
 * All that it needs comes in one argument, so that a run script can be
 * "#!probe DIR:SLOT" and no shell stands between a supervisor and the program.
 *
 * With -DBARE it has no C library (x86_64, aarch64): what is measured is the
 * supervisor and the kernel.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

/* The layout is board.go's too. */
struct slot {
	int64_t at;      /* ns, of the newest start */
	uint32_t pid;    /* of the newest start */
	uint32_t starts;
};

struct board {
	uint32_t starts; /* of all slots */
	uint32_t target; /* the number of starts somebody waits for */
	uint32_t full;   /* futex: 1 once starts has come to target */
	uint32_t unused;
	struct slot slot[];
};

#if defined(BARE) && defined(__x86_64__)
static long sys(long n, long a, long b, long c, long d, long e, long f)
{
	long r;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return r;
}
__asm__(".globl _start\n_start:\n\txor %ebp,%ebp\n\tmov %rsp,%rdi\n\tcall enter\n");
#elif defined(BARE) && defined(__aarch64__)
static long sys(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
__asm__(".globl _start\n_start:\n\tmov x29,#0\n\tmov x0,sp\n\tb enter\n");
#elif defined(BARE)
#error "no bare start for this machine: build without -DBARE"
#else
#include <unistd.h>
#define sys(n, a, b, c, d, e, f) syscall(n, a, b, c, d, e, f)
#endif

/* run returns the exit status when the program has nothing (more) to do. */
static int run(char **argv)
{
	struct timespec now;
	sys(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0, 0);

	char *s = argv[1];
	if (!s)
		return 2;
	while (*s && *s != ':')
		s++;
	if (!*s)
		return 2;
	*s = 0;
	long dir = sys(SYS_openat, AT_FDCWD, (long)argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC, 0, 0, 0);
	*s++ = ':';
	long slot = 0;
	for (; *s >= '0' && *s <= '9'; s++)
		slot = slot * 10 + (*s - '0');

	long fd = sys(SYS_openat, dir, (long)"board", O_RDWR | O_CLOEXEC, 0, 0, 0);
	if (fd < 0)
		return 3;
	struct board *b = (struct board *)sys(SYS_mmap, 0, sizeof *b + (slot + 1) * sizeof(struct slot),
		PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if ((unsigned long)b > -4096UL)
		return 4;
	/* The reader is there before any program is; without one there is nobody to tell. */
	sys(SYS_openat, dir, (long)"alive", O_WRONLY | O_NONBLOCK | O_CLOEXEC, 0, 0, 0);

	struct slot *mine = &b->slot[slot];
	mine->pid = sys(SYS_getpid, 0, 0, 0, 0, 0, 0);
	mine->at = now.tv_sec * 1000000000LL + now.tv_nsec;
	mine->starts++;
	if (__atomic_add_fetch(&b->starts, 1, __ATOMIC_SEQ_CST) == __atomic_load_n(&b->target, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&b->full, 1, __ATOMIC_SEQ_CST);
		sys(SYS_futex, (long)&b->full, FUTEX_WAKE, 1, 0, 0, 0);
	}
	if (*s == 'x')
		return 1;
	for (;;)
		sys(SYS_ppoll, 0, 0, 0, 0, 0, 0);
}

#ifdef BARE
__attribute__((used, noreturn)) void enter(long *sp)
{
	int status = run((char **)(sp + 1));
	for (;;)
		sys(SYS_exit_group, status, 0, 0, 0, 0, 0);
}
#else
int main(int argc, char **argv)
{
	(void)argc;
	return run(argv);
}
#endif
