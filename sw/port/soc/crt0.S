/* Every hart starts here, with a stack of its own, and goes to tdco_start(hart). */
#include "tdco_hw.h"

    .section .text.start
    .globl _start
    .type _start, @function
_start:
    csrr a0, mhartid
    addi t0, a0, 1
    li t1, TDCO_STACK_BYTES
    mul t0, t0, t1
    li sp, TDCO_L1_BASE
    add sp, sp, t0
    call tdco_start
1:  wfi
    j 1b
    .size _start, . - _start
