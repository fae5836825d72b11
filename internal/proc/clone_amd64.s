#include "go_asm.h"
#include "textflag.h"

// func cloneRun(trap, a0, a1, a2, a3, a4 uintptr, list *call) (pid, errno uintptr)
//
// Parent and child share the stack, and run at the same time: the child must
// not touch it. All that it needs is in R12, which the kernel preserves.
TEXT ·cloneRun(SB),NOSPLIT|NOFRAME,$0-72
	MOVQ	trap+0(FP), AX
	MOVQ	a0+8(FP), DI
	MOVQ	a1+16(FP), SI
	MOVQ	a2+24(FP), DX
	MOVQ	a3+32(FP), R10
	MOVQ	a4+40(FP), R8
	MOVQ	list+48(FP), R12
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	CMPQ	AX, $0xfffffffffffff001
	JCC	failed
	MOVQ	AX, pid+56(FP)
	MOVQ	$0, errno+64(FP)
	RET
failed:
	NEGQ	AX
	MOVQ	$-1, pid+56(FP)
	MOVQ	AX, errno+64(FP)
	RET

child:
	MOVQ	call_nr(R12), AX
	MOVQ	(call_a+0)(R12), DI
	MOVQ	(call_a+8)(R12), SI
	MOVQ	(call_a+16)(R12), DX
	MOVQ	(call_a+24)(R12), R10
	MOVQ	(call_a+32)(R12), R8
	MOVQ	(call_a+40)(R12), R9
	SYSCALL
	CMPQ	AX, $0xfffffffffffff001
	JCS	next
	NEGQ	AX
	MOVQ	AX, call_err(R12)
	MOVQ	call_soft(R12), BX
	TESTQ	BX, BX
	JZ	exit
	CMPQ	AX, BX
	JEQ	exit
next:
	ADDQ	$call__size, R12
	JMP	child
exit:
	MOVL	$127, DI
	MOVL	$231, AX	// exit_group
	SYSCALL
	INT	$3
