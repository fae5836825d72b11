package proc

// cloneOrder returns the arguments of clone(2), whose order differs between
// architectures: flags, stack, parent_tid, tls, child_tid.
func cloneOrder(flags, pidfd, childTID uintptr) [5]uintptr {
	return [5]uintptr{flags, 0, pidfd, 0, childTID}
}
