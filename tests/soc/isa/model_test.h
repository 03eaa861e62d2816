/* Model hooks for the public riscv-arch-test: the signature goes to standard output by Linux's write, then exit 0,
 * so that the same ELF runs on the bare core and under qemu-riscv32. On the cluster it stays in memory. */
#ifndef TDCO_MODEL_TEST_H
#define TDCO_MODEL_TEST_H

#include "tdco_cluster.h"

/* zig cc does not hand the extensions of -mcpu to the assembler. */
.option arch, +zicsr, +zfinx, +zhinx

#define RVMODEL_BOOT .globl _start; _start: TDCO_BOOT
#ifdef TDCO_HART
#define RVMODEL_HALT li a0, 0; TDCO_END
#else
#define RVMODEL_HALT                                                          \
    li a0, 1; la a1, begin_signature; la a2, end_signature; sub a2, a2, a1; \
    li a7, 64; ecall; li a0, 0; TDCO_END
#endif
#define RVMODEL_DATA_BEGIN .align 4; .globl begin_signature; begin_signature:
#define RVMODEL_DATA_END .align 4; .globl end_signature; end_signature:
#define RVMODEL_DATA_SECTION
#define RVMODEL_IO_INIT
#define RVMODEL_IO_WRITE_STR(register, text)
#define RVMODEL_IO_CHECK()
#define RVMODEL_IO_ASSERT_GPR_EQ(base, register, value)
#define RVMODEL_IO_ASSERT_SFPR_EQ(base, register, value)
#define RVMODEL_IO_ASSERT_DFPR_EQ(base, register, value)

#endif
