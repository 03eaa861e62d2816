/* Environment for the public riscv-tests: user-mode code that ends in Linux's exit, code 0 or the failing test's number,
 * so that the same ELF runs on the bare core and under qemu-riscv32. On the cluster: tdco_cluster.h. */
#ifndef TDCO_RISCV_TEST_H
#define TDCO_RISCV_TEST_H

#include "tdco_cluster.h"

#define TESTNUM gp
#define RVTEST_RV32U
#define RVTEST_RV64U
#define RVTEST_CODE_BEGIN .section .text.init; .globl _start; _start: TDCO_BOOT; li TESTNUM, 0
#define RVTEST_CODE_END
#define RVTEST_PASS li a0, 0; TDCO_END
#define RVTEST_FAIL mv a0, TESTNUM; TDCO_END
#define EXTRA_DATA
#define RVTEST_DATA_BEGIN .align 4; .globl begin_signature; begin_signature:
#define RVTEST_DATA_END .align 4; .globl end_signature; end_signature:

#endif
