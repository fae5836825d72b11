package server

import (
	"net"
	"os"
	"slices"
	"syscall"
	"unsafe"
)

// A peer is who has connected to a unix socket, as the kernel says.
type peer struct {
	uid    int
	groups []int // its own, and those that it is in besides
}

// grantPeer returns what may be done by a peer that a socket's mode has let in. Its
// owner, its group and root may do everything. For a socket that is open to all there
// are the others as well, who may look.
func grantPeer(mode os.FileMode, owner, group int, p peer) access {
	const others, groups = 0o002, 0o020 // who may write may connect (unix(7))
	switch {
	case mode&others == 0, p.uid == 0, p.uid == owner:
		return admin
	case mode&groups != 0 && slices.Contains(p.groups, group):
		return admin
	}
	return read
}

// grantOf returns what may be done over a connection: on a unix socket what its path's
// mode and the peer say, elsewhere nothing.
func (s *Server) grantOf(c net.Conn) access {
	if c.LocalAddr().Network() != "unix" {
		return open
	}
	if s.socket == "" {
		return admin
	}
	info, err := os.Stat(s.socket)
	if err != nil || info.Mode().Perm()&0o002 == 0 { // only those are let in who may do all
		return admin
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	p, err := peerOf(c)
	if !ok || err != nil {
		return read
	}
	return grantPeer(info.Mode(), int(st.Uid), int(st.Gid), p)
}

// peerOf asks the kernel who has connected.
func peerOf(c net.Conn) (p peer, err error) {
	if l, ok := c.(*limitedConn); ok {
		c = l.Conn
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return p, syscall.ENOTSOCK
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return p, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		var cred *syscall.Ucred
		if cred, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err != nil {
			return
		}
		p = peer{int(cred.Uid), append(peerGroups(fd), int(cred.Gid))}
	})
	if err == nil {
		err = controlErr
	}
	return p, err
}

// peerGroups returns the groups that a peer is in beside its own, none where the kernel
// doesn't tell (SO_PEERGROUPS, Linux 4.13).
func peerGroups(fd uintptr) []int {
	const soPeerGroups = 59
	gids := make([]uint32, 64)
	for {
		size := uint32(4 * len(gids))
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, soPeerGroups,
			uintptr(unsafe.Pointer(&gids[0])), uintptr(unsafe.Pointer(&size)), 0)
		if errno == syscall.ERANGE && int(size)/4 > len(gids) { // it says how many there are
			gids = make([]uint32, size/4)
			continue
		}
		if errno != 0 {
			return nil
		}
		list := make([]int, size/4)
		for i := range list {
			list[i] = int(gids[i])
		}
		return list
	}
}
