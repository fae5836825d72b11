package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tend/api"
)

func (a *app) execCommand() *cobra.Command {
	return a.does(&cobra.Command{
		Use:     "exec NAME -- COMMAND ARG…",
		Short:   "run a command as a program is run",
		GroupID: groupLook,
		Long: `Runs a command in this terminal with the environment, user, folder and limits of
a program, and exits with its status. NAME is a program or an instance. The
command is this shell's, not the daemon's: it isn't guarded, and stopping the
program doesn't end it. To run it as another user one must be root.`,
		Example: `  tend exec web -- env
  tend exec queue:1 -- php artisan tinker`,
		Args: func(cmd *cobra.Command, args []string) error {
			switch dash := cmd.ArgsLenAtDash(); {
			case len(args) == 0 || dash == 0:
				return &failure{exitUsage, "exec as which program?", "as in: tend exec web -- env"}
			case dash != 1 || len(args) == 1:
				return &failure{exitUsage, "exec needs one name and a command behind --", "as in: tend exec " + args[0] + " -- env"}
			}
			return nil
		},
		ValidArgsFunction: a.completeNames,
	}, func(ctx context.Context, _ *cobra.Command, args []string) error {
		e, err := a.connect().Exec(ctx, args[0])
		if err != nil {
			return err
		}
		return become(e, args[1:])
	})
}

// become executes argv in this process's place. It returns only when that fails,
// and may have changed the process by then.
func become(e *api.Exec, argv []string) error {
	cannot := func(what string, err error, hint string) error {
		return &failure{exitFailed, fmt.Sprintf("cannot run as %s: %s: %v", e.Name, what, err), hint}
	}
	uid := e.UID
	if uid < 0 {
		uid = e.DaemonUID
	}
	if uid != os.Geteuid() && os.Geteuid() != 0 {
		return &failure{exitFailed, fmt.Sprintf("cannot run as %s: it is user %d, and this is user %d", e.Name, uid, os.Geteuid()), "run it as that user, or as root"}
	}
	runtime.LockOSThread() // priority and privileges are a thread's
	if e.OOMScoreAdj != nil {
		if err := os.WriteFile("/proc/thread-self/oom_score_adj", []byte(strconv.Itoa(*e.OOMScoreAdj)), 0); err != nil {
			return cannot("oom_score_adj", err, "")
		}
	}
	if e.Nice != nil {
		if err := unix.Setpriority(unix.PRIO_PROCESS, 0, *e.Nice); err != nil {
			return cannot("nice", err, "")
		}
	}
	for _, l := range e.Limits {
		// Not by unix.Setrlimit, which would have syscall.Exec undo what it knows of.
		limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		if l.Soft != nil {
			limit.Cur = *l.Soft
		}
		if l.Hard != nil {
			limit.Max = *l.Hard
		}
		if err := unix.Prlimit(0, l.Resource, &limit, nil); err != nil {
			return cannot("limits."+l.Name, err, "only root may raise the hard limits")
		}
	}
	if e.Umask != nil {
		unix.Umask(*e.Umask)
	}
	if uid != os.Geteuid() || e.GID >= 0 && e.GID != os.Getegid() {
		if os.Geteuid() == 0 {
			if err := syscall.Setgroups(e.Groups); err != nil {
				return cannot("setgroups", err, "")
			}
		}
		if e.GID >= 0 {
			if err := syscall.Setgid(e.GID); err != nil {
				return cannot("setgid", err, "")
			}
		}
		if err := syscall.Setuid(uid); err != nil {
			return cannot("setuid", err, "")
		}
	}
	if e.Directory != "" {
		if err := os.Chdir(e.Directory); err != nil {
			return cannot("its folder", errors.Unwrap(err), "")
		}
	}
	if e.NoNewPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return cannot("no_new_privileges", err, "")
		}
	}
	env := e.Env
	if term := os.Getenv("TERM"); term != "" { // what runs in a terminal must know which
		env = append(without(env, "TERM"), "TERM="+term)
	}
	for _, kv := range env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			os.Setenv("PATH", path)
		}
	}
	file, err := exec.LookPath(argv[0])
	if err != nil {
		return &failure{127, fmt.Sprintf("cannot run %s: %v", argv[0], errors.Unwrap(err)), ""}
	}
	err = syscall.Exec(file, argv, env)
	return &failure{126, fmt.Sprintf("cannot run %s: %v", file, err), ""}
}

// without returns the variables but for one.
func without(env []string, name string) (rest []string) {
	for _, kv := range env {
		if !strings.HasPrefix(kv, name+"=") {
			rest = append(rest, kv)
		}
	}
	return rest
}
