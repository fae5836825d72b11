/*
 * limit is the least that a supervisor can do: vfork, exec, wait, and again.
 * It is the measure that the others are held against, and no supervisor: it
 * keeps no log, no state, no order, and nobody can ask it anything.
 *
 *	limit PROBE DIR N	guards N copies, PROBE DIR:0 to PROBE DIR:N-1
 *
 * TERM ends the copies, then limit.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static char *probe, *dir;
static int n;
static pid_t *pids;
static volatile sig_atomic_t stopping;
static sigset_t term, none;

static void on_term(int sig)
{
	(void)sig;
	stopping = 1;
	for (int i = 0; i < n; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGTERM);
}

/* spawn holds TERM back, so that on_term finds every copy there is. */
static void spawn(int i)
{
	char arg[4096];
	char *argv[] = {probe, arg, NULL};
	snprintf(arg, sizeof arg, "%s:%d", dir, i);
	sigprocmask(SIG_BLOCK, &term, NULL);
	if (!stopping) {
		pid_t pid = vfork();
		if (pid == 0) {
			sigprocmask(SIG_SETMASK, &none, NULL);
			execv(probe, argv);
			_exit(127);
		}
		pids[i] = pid;
	}
	sigprocmask(SIG_UNBLOCK, &term, NULL);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	probe = argv[1];
	dir = argv[2];
	n = atoi(argv[3]);
	pids = calloc(n + 1, sizeof *pids);
	sigemptyset(&none);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	signal(SIGTERM, on_term);

	for (int i = 0; i < n; i++)
		spawn(i);
	for (;;) {
		pid_t pid = wait(NULL);
		if (pid < 0 && errno == ECHILD) {
			if (n > 0)
				return stopping ? 0 : 1;
			/* Nothing to guard: only TERM can come. */
			sigprocmask(SIG_BLOCK, &term, NULL);
			while (!stopping)
				sigsuspend(&none);
			return 0;
		}
		for (int i = 0; pid > 0 && i < n; i++)
			if (pids[i] == pid) {
				pids[i] = 0;
				if (!stopping)
					spawn(i);
				break;
			}
	}
}
