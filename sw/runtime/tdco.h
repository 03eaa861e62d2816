/* The program format: what the compiler generates and every platform runs.
 *
 * A program is five queues of commands: DMA copies into L1, copies out of it, engine jobs, kernel calls, and moves
 * between L2 and L3. Each queue is issued in its order; `wait` says how many commands of every queue must have finished
 * before a command may start. A copy starts only when the copy before it in its queue has finished, calls and moves
 * likewise; jobs overlap unless TDCO_JOB_AFTER is set. Waits that this order implies are not listed. `command` numbers
 * the commands of all queues in an order that satisfies every wait: a platform may run them one after the other.
 * Addresses are device addresses (tdco_hw.h); tdco_ptr() of the port turns one into a pointer.
 */
#ifndef TDCO_H
#define TDCO_H

#include <stdint.h>

enum { TDCO_IN, TDCO_OUT, TDCO_GEMM, TDCO_CALL, TDCO_L3, TDCO_KINDS };

/* When a command may start; the first member of every command. Most wait for one queue at most, and the controller,
 * which takes long to read a word of L2, needs no more than the first word then: `only` is (queue + 1) << 13 | count, or
 * 0: look at `wait`. */
typedef struct __attribute__((aligned(4))) {
    uint16_t command, only;
    uint16_t wait[TDCO_KINDS];
} tdco_when;

#define TDCO_ONLY_SHIFT 13

/* One 2-D DMA transfer between L1 (dense) and L2. */
typedef struct {
    tdco_when when;
    uint32_t l1, l2;       /* addresses */
    uint32_t row_bytes, rows;
    int32_t stride_bytes;  /* from one row to the next in L2 */
} tdco_copy;

/* In a job's flags, for the controller: m, n and the strides are those of the job before, and need not be read. */
#define TDCO_JOB_LIKE_LAST 0x8000

/* One engine job: the words of the job registers, in their order. */
typedef struct {
    tdco_when when;
    uint32_t x, w, y, z;
    int32_t x_stride, w_stride, y_stride, z_stride;
    uint16_t m, n, k, flags;  /* flags: TDCO_JOB_* of tdco_hw.h, and the above */
} tdco_job;

#define TDCO_MAX_PTRS 8
#define TDCO_MAX_INTS 12
#define TDCO_MAX_FLOATS 4

/* What a kernel gets: pointers (0 where an optional operand is absent), integers, floats. */
typedef struct {
    void *p[TDCO_MAX_PTRS];
    const int32_t *i;
    const float *f;
    uint32_t engine_finite; /* no job of the step that had finished when the call started stored an infinity or NaN */
} tdco_args;

/* Every core of the cluster calls the kernel; core 0..cores-1 does its share. Kernels hold no state and no barrier. */
typedef void tdco_kernel(const tdco_args *args, uint32_t core, uint32_t cores);

typedef struct {
    tdco_when when;
    tdco_kernel *kernel;
    uint32_t addr[TDCO_MAX_PTRS];
    int32_t i[TDCO_MAX_INTS];
    float f[TDCO_MAX_FLOATS];
} tdco_call;

/* One transfer between L2 and L3. */
typedef struct {
    tdco_when when;
    uint32_t l2, l3; /* addresses */
    uint32_t bytes, to_l2;
} tdco_move;

/* A planned buffer and the first and last command that use it; sanitizers and simulators check accesses against it.
 * Another buffer may take its place afterwards: the waits order their users. */
typedef struct {
    uint32_t addr, bytes;
    uint16_t first, last;
    const char *name;
} tdco_buffer;

typedef struct {
    const tdco_copy *ins, *outs;
    const tdco_job *jobs;
    const tdco_call *calls;
    const tdco_move *moves;
    const tdco_buffer *buffers;
    uint32_t n[TDCO_KINDS], n_buffers; /* entries of each table */
    uint32_t config_hash;
} tdco_program;

extern const tdco_program tdco_prog; /* in the generated program.c */

/* Entry `index` of the queue `kind`. */
static inline const tdco_when *tdco_entry(const tdco_program *program, uint32_t kind, uint32_t index)
{
    switch (kind) {
    case TDCO_IN:
        return &program->ins[index].when;
    case TDCO_OUT:
        return &program->outs[index].when;
    case TDCO_GEMM:
        return &program->jobs[index].when;
    case TDCO_CALL:
        return &program->calls[index].when;
    default:
        return &program->moves[index].when;
    }
}

void tdco_run(const tdco_program *program); /* one step, runtime/run.c */

#endif
