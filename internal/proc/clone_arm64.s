#include "go_asm.h"
#include "textflag.h"

// func cloneRun(trap, a0, a1, a2, a3, a4 uintptr, list *call) (pid, errno uintptr)
//
// Parent and child share the stack, and run at the same time: the child must
// not touch it. All that it needs is in R19, which the kernel preserves.
TEXT ·cloneRun(SB),NOSPLIT|NOFRAME,$0-72
	MOVD	trap+0(FP), R8
	MOVD	a0+8(FP), R0
	MOVD	a1+16(FP), R1
	MOVD	a2+24(FP), R2
	MOVD	a3+32(FP), R3
	MOVD	a4+40(FP), R4
	MOVD	list+48(FP), R19
	SVC
	CBZ	R0, child
	CMN	$4095, R0
	BCS	failed
	MOVD	R0, pid+56(FP)
	MOVD	ZR, errno+64(FP)
	RET
failed:
	NEG	R0, R0
	MOVD	$-1, R1
	MOVD	R1, pid+56(FP)
	MOVD	R0, errno+64(FP)
	RET

child:
	MOVD	call_nr(R19), R8
	MOVD	(call_a+0)(R19), R0
	MOVD	(call_a+8)(R19), R1
	MOVD	(call_a+16)(R19), R2
	MOVD	(call_a+24)(R19), R3
	MOVD	(call_a+32)(R19), R4
	MOVD	(call_a+40)(R19), R5
	SVC
	CMN	$4095, R0
	BCC	next
	NEG	R0, R0
	MOVD	R0, call_err(R19)
	MOVD	call_soft(R19), R1
	CBZ	R1, exit
	CMP	R1, R0
	BEQ	exit
next:
	ADD	$call__size, R19
	B	child
exit:
	MOVD	$127, R0
	MOVD	$94, R8	// exit_group
	SVC
	BRK
