package proc

// cloneOrder returns the arguments of clone(2), whose order differs between
// architectures: flags, stack, parent_tid, child_tid, tls.
func cloneOrder(flags, pidfd, childTID uintptr) [5]uintptr {
	return [5]uintptr{flags, 0, pidfd, childTID, 0}
}
