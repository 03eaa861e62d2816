/* How a test program begins, and ends with the exit code in a0: by Linux's exit, or, with TDCO_HART defined, on that hart
 * of the cluster, where the others sleep for ever; TDCO_EXIT and TDCO_ICACHE are the addresses of two registers. */
#ifndef TDCO_CLUSTER_H
#define TDCO_CLUSTER_H

#ifdef TDCO_HART
#define TDCO_BOOT                                                                      \
    csrr a0, mhartid; li a1, TDCO_HART; beq a0, a1, 992f; 991 : wfi; j 991b; 992 : \
    li a0, TDCO_ICACHE; li a1, 1; sw a1, 0(a0)
#define TDCO_END li a1, 0x80000000; or a0, a0, a1; li a1, TDCO_EXIT; sw a0, 0(a1); 993 : j 993b
#else
#define TDCO_BOOT
#define TDCO_END li a7, 93; ecall
#endif

#endif
