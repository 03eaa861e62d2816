/* Environment for the public riscv-tests: user-mode code that ends in Linux's exit, code 0 or the failing test's number.
 * The same ELF runs on the simulator and under qemu-riscv32. */
#ifndef TDCO_RISCV_TEST_H
#define TDCO_RISCV_TEST_H

#define TESTNUM gp
#define RVTEST_RV32U
#define RVTEST_RV64U
#define RVTEST_CODE_BEGIN .section .text.init; .globl _start; _start: li TESTNUM, 0
#define RVTEST_CODE_END
#define RVTEST_PASS li a0, 0; li a7, 93; ecall
#define RVTEST_FAIL mv a0, TESTNUM; li a7, 93; ecall
#define EXTRA_DATA
#define RVTEST_DATA_BEGIN .align 4; .globl begin_signature; begin_signature:
#define RVTEST_DATA_END .align 4; .globl end_signature; end_signature:

#endif
