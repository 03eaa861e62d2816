/* The program format: what the compiler generates and every platform runs.
 *
 * A program is a list of commands in issue order. A command is a DMA copy, an engine job or a kernel call; `wait` says
 * how many commands of each kind must have finished before it may start. Commands of a kind start and finish in issue
 * order. A copy starts only when the copy before it has finished, a call likewise; jobs overlap unless TDCO_JOB_AFTER
 * is set. Waits that this order implies are not listed.
 * Addresses are device addresses (tdco_hw.h); tdco_ptr() of the port turns one into a pointer.
 */
#ifndef TDCO_H
#define TDCO_H

#include <stdint.h>

enum { TDCO_COPY, TDCO_GEMM, TDCO_CALL, TDCO_KINDS };

/* One 2-D DMA transfer between L1 (dense) and L2. */
typedef struct {
    uint32_t l1, l2;       /* addresses */
    uint32_t row_bytes, rows;
    int32_t stride_bytes;  /* from one row to the next in L2 */
    uint32_t to_l1;        /* 1: L2 to L1, 0: L1 to L2 */
} tdco_copy;

/* One engine job: the words of the job registers, in their order. */
typedef struct {
    uint32_t x, w, y, z;
    int32_t x_stride, w_stride, y_stride, z_stride;
    uint16_t m, n, k, flags;  /* flags: TDCO_JOB_* of tdco_hw.h */
} tdco_job;

#define TDCO_MAX_PTRS 8
#define TDCO_MAX_INTS 12
#define TDCO_MAX_FLOATS 4

/* What a kernel gets: pointers (0 where an optional operand is absent), integers, floats. */
typedef struct {
    void *p[TDCO_MAX_PTRS];
    const int32_t *i;
    const float *f;
} tdco_args;

/* Every core of the cluster calls the kernel; core 0..cores-1 does its share. Kernels hold no state and no barrier. */
typedef void tdco_kernel(const tdco_args *args, uint32_t core, uint32_t cores);

typedef struct {
    tdco_kernel *kernel;
    uint32_t addr[TDCO_MAX_PTRS];
    int32_t i[TDCO_MAX_INTS];
    float f[TDCO_MAX_FLOATS];
} tdco_call;

typedef struct {
    uint8_t kind;
    uint16_t index;              /* into copies, jobs or calls */
    uint16_t wait[TDCO_KINDS];   /* commands of each kind that must have finished */
} tdco_command;

/* A planned buffer and the first and last command, in issue order, that use it; sanitizers and simulators check accesses
 * against it. Another buffer may take its place afterwards: the waits order their users. */
typedef struct {
    uint32_t addr, bytes;
    uint16_t first, last;
    const char *name;
} tdco_buffer;

typedef struct {
    const tdco_command *commands;
    const tdco_copy *copies;
    const tdco_job *jobs;
    const tdco_call *calls;
    const tdco_buffer *buffers;
    uint32_t n_commands, n_copies, n_jobs, n_calls, n_buffers;
    uint32_t config_hash;
} tdco_program;

extern const tdco_program tdco_prog; /* in the generated program.c */

void tdco_run(const tdco_program *program); /* one step, runtime/run.c */

#endif
