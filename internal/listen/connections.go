package listen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The messages of sock_diag(7). Ports and IP addresses are in network order.
type (
	inetID struct {
		sport, dport [2]byte
		src, dst     [16]byte
		iface        uint32
		cookie       [2]uint32
	}
	inetRequest struct {
		family, protocol, ext, _ uint8
		states                   uint32
		id                       inetID
	}
	inetAnswer struct {
		family, state, timer, retrans uint8
		id                            inetID
		_                             [5]uint32
	}
	unixRequest struct {
		family, protocol  uint8
		_                 uint16
		states, ino, show uint32
		cookie            [2]uint32
	}
)

const (
	unixAnswer = 16 // bytes in front of the attributes of a unix socket

	byFamily  = 20 // SOCK_DIAG_BY_FAMILY
	showName  = 1  // UDIAG_SHOW_NAME
	nameAttr  = 0  // UNIX_DIAG_NAME
	connected = 1<<unix.BPF_TCP_ESTABLISHED | 1<<unix.BPF_TCP_CLOSE_WAIT
)

// Connections returns how many connections are open that were made to the sockets
// at the addresses. Open is what the program hasn't closed: one whose other end has
// said that it will send no more is still open. Those that aren't accepted yet
// count as well, at a unix socket as one. Sockets that aren't open are passed over.
func (t *Table) Connections(addresses []Address) (n int, err error) {
	// By copies: a dump may take its time.
	t.mu.Lock()
	var open []Address
	var fds []int
	for _, a := range addresses {
		if l := t.open[a]; l != nil {
			fd, dupErr := unix.FcntlInt(uintptr(l.fd), unix.F_DUPFD_CLOEXEC, 3)
			if dupErr != nil {
				err = dupErr
				break
			}
			fds, open = append(fds, fd), append(open, a)
		}
	}
	t.mu.Unlock()
	defer closeAll(fds)
	for i := range fds {
		if err == nil {
			var more int
			more, err = connections(open[i], fds[i])
			n += more
		}
	}
	if err != nil {
		return n, fmt.Errorf("cannot count connections: %w", err)
	}
	return n, nil
}

func connections(a Address, fd int) (n int, err error) {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	var host netip.Addr
	r := inetRequest{protocol: unix.IPPROTO_TCP, states: connected}
	switch name := name.(type) {
	case *unix.SockaddrUnix:
		r := unixRequest{family: unix.AF_UNIX, states: connected, show: showName}
		err = dump(unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r)), func(data []byte) {
			if nameOf(data) == name.Name {
				n++
			}
		})
		// The kernel tells of none before it is accepted.
		queue := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if waits, _ := unix.Poll(queue, 0); waits > 0 {
			n++
		}
		return n, err
	case *unix.SockaddrInet4:
		r.family, host = unix.AF_INET, netip.AddrFrom4(name.Addr)
		binary.BigEndian.PutUint16(r.id.sport[:], uint16(name.Port))
	case *unix.SockaddrInet6:
		// One for both families has its connections of IPv4 in this family, too.
		r.family, host = unix.AF_INET6, netip.AddrFrom16(name.Addr)
		binary.BigEndian.PutUint16(r.id.sport[:], uint16(name.Port))
	default:
		return 0, errors.New("a socket of an unknown family")
	}
	err = dump(unsafe.Slice((*byte)(unsafe.Pointer(&r)), unsafe.Sizeof(r)), func(data []byte) {
		if len(data) < int(unsafe.Sizeof(inetAnswer{})) {
			return
		}
		answer := (*inetAnswer)(unsafe.Pointer(&data[0]))
		local := netip.AddrFrom16(answer.id.src)
		if r.family == unix.AF_INET {
			local = netip.AddrFrom4([4]byte(answer.id.src[:4]))
		}
		if answer.id.sport == r.id.sport && (host.IsUnspecified() || host == local) {
			n++
		}
	})
	return n, err
}

// nameOf returns the name in an answer about a unix socket: of one that was
// accepted that is the one at which it was.
func nameOf(data []byte) string {
	rest := data[min(len(data), unixAnswer):]
	for len(rest) >= 4 {
		size, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if size < 4 || size > len(rest) {
			return ""
		}
		if kind == nameAttr {
			name := rest[4:size]
			for len(name) > 0 && name[len(name)-1] == 0 {
				name = name[:len(name)-1]
			}
			return string(name)
		}
		rest = rest[min(len(rest), (size+3)&^3):]
	}
	return ""
}

// dump asks the kernel for sockets, and calls each for every answer.
func dump(request []byte, each func(data []byte)) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	message := make([]byte, unix.SizeofNlMsghdr+len(request))
	binary.NativeEndian.PutUint32(message, uint32(len(message)))
	binary.NativeEndian.PutUint16(message[4:], byFamily)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	copy(message[unix.SizeofNlMsghdr:], request)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		answers, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return err
		}
		for _, m := range answers {
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return nil
			case unix.NLMSG_ERROR:
				if len(m.Data) >= 4 {
					return syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
				}
				return errors.New("an error of netlink without a number")
			default:
				each(m.Data)
			}
		}
	}
}
