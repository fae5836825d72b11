package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// An Account is a user as programs run as it.
type Account struct {
	Cred  Credential
	Name  string // "" for a number that has no entry
	Home  string // "/" without an entry
	Shell string // "/bin/sh" without an entry
}

// ErrNoAccount is what LookupUser's errors wrap when the user or group isn't
// there, as opposed to a file that can't be read.
var ErrNoAccount = errors.New("not found")

// LookupUser returns the account of user with the given group. Both are names
// or numbers; "" is our user, or the user's own group. It reads /etc/passwd and
// /etc/group each time and asks no other directory. A user that is a number
// without an entry needs a group.
func LookupUser(user, group string) (*Account, error) {
	return lookupUser("/etc/passwd", "/etc/group", user, group)
}

func lookupUser(passwd, groups, user, group string) (*Account, error) {
	acc := &Account{Home: "/", Shell: shell}
	hasGID := false
	wanted := user
	if user == "" {
		wanted = strconv.Itoa(os.Geteuid())
		acc.Cred.GID, hasGID = uint32(os.Getegid()), true
	}
	entry, err := find(passwd, wanted, 7, 2)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot look up user %q: %w", user, err)
	case entry != nil:
		acc.Name, acc.Home, acc.Shell = entry[0], entry[5], entry[6]
		gid, err := id(entry[3])
		if err != nil {
			return nil, fmt.Errorf("cannot look up user %q: group of %s: %w", user, passwd, err)
		}
		acc.Cred.GID, hasGID = gid, true
		wanted = entry[2]
	}
	if acc.Cred.UID, err = id(wanted); err != nil {
		return nil, fmt.Errorf("no such user %q: %w", user, ErrNoAccount)
	}

	if group != "" {
		entry, err := find(groups, group, 4, 2)
		switch {
		case err != nil:
			return nil, fmt.Errorf("cannot look up group %q: %w", group, err)
		case entry != nil:
			group = entry[2]
		}
		if acc.Cred.GID, err = id(group); err != nil {
			return nil, fmt.Errorf("no such group %q: %w", group, ErrNoAccount)
		}
	} else if !hasGID {
		return nil, fmt.Errorf("cannot tell the group of user %q, who has no entry in %s: %w; set group", user, passwd, ErrNoAccount)
	}
	acc.Cred.Groups = []uint32{acc.Cred.GID}
	if acc.Name == "" {
		return acc, nil
	}
	err = each(groups, 4, func(f []string) bool {
		for member := range strings.SplitSeq(f[3], ",") {
			if gid, err := id(f[2]); err == nil && member == acc.Name && gid != acc.Cred.GID {
				acc.Cred.Groups = append(acc.Cred.Groups, gid)
				break
			}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look up the groups of user %q: %w", acc.Name, err)
	}
	return acc, nil
}

// id parses a user or group id. The highest stands for "no change" in system
// calls and is none.
func id(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err == nil && n == 1<<32-1 {
		err = strconv.ErrRange
	}
	return uint32(n), err
}

// find returns the entry whose name, or whose number in the given field, is
// key; nil when there is none. Names come first.
func find(file, key string, fields, number int) (entry []string, err error) {
	var byNumber []string
	err = each(file, fields, func(f []string) bool {
		if f[0] == key {
			entry = f
		} else if f[number] == key && byNumber == nil {
			byNumber = f
		}
		return entry == nil
	})
	if entry == nil {
		entry = byNumber
	}
	return entry, err
}

// each calls f with the fields of each line of a file like passwd(5), until f
// returns false. Lines of another form are passed over; no file has no lines.
func each(file string, fields int, f func([]string) bool) error {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		p := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(p) == fields && p[0] != "" && !strings.HasPrefix(p[0], "#") && !f(p) {
			break
		}
	}
	return nil
}
