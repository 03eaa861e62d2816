/* A compiled program on the cluster: the controller issues commands, the workers run kernels, engine and DMA work
 * beside them. */
#include "cluster.h"
#include "port.h"
#include "tdco.h"

enum { SLOTS = 2, WORKERS = (1 << TDCO_CORES) - 1, CONTROLLER = 1 << TDCO_CORES };

typedef struct {
    tdco_kernel *kernel;
    tdco_args args;
    int32_t i[TDCO_MAX_INTS];
    float f[TDCO_MAX_FLOATS];
} slot;

/* A copy under way: its counter in the DMA, and the bytes it lies within. */
typedef struct {
    uint32_t counter, to_l1, l1, l1_end, l2, l2_end;
} transfer;

/* Shared by controller and workers. */
static struct {
    slot slots[SLOTS];
    volatile uint32_t posted, done; /* kernel calls, since the start */
} work TDCO_L1_DATA;

/* The command issued last, for whoever looks at a stopped run. */
volatile uint32_t tdco_command_index TDCO_L1_DATA;

/* The controller's own. */
static struct {
    uint32_t jobs_before, calls_before;       /* at tdco_port_begin() */
    uint32_t copies_started, copies_finished; /* since tdco_port_begin() */
    transfer transfers[TDCO_DMA_COUNTERS];    /* those under way, a ring */
} now TDCO_L1_DATA;

static uint32_t engine(uint32_t reg)
{
    return *tdco_reg(TDCO_ENGINE_BASE + reg);
}

void tdco_port_begin(const tdco_program *program)
{
    (void)program;
    now.jobs_before = engine(TDCO_REG_FINISHED);
    now.calls_before = work.posted;
    now.copies_started = now.copies_finished = 0;
}

void tdco_port_command(const tdco_program *program, uint32_t index)
{
    (void)program;
    tdco_command_index = index;
}

static void wait_copies(uint32_t count)
{
    while (now.copies_finished < count)
        if (tdco_dma_busy(now.transfers[now.copies_finished % TDCO_DMA_COUNTERS].counter))
            tdco_wait_event(TDCO_EVENT_DMA);
        else
            now.copies_finished++;
}

void tdco_port_wait(uint32_t kind, uint32_t count)
{
    if (kind == TDCO_COPY) {
        wait_copies(count);
    } else if (kind == TDCO_GEMM) {
        while (count && (int32_t)(engine(TDCO_REG_FINISHED) - now.jobs_before - count) < 0)
            tdco_wait_event(TDCO_EVENT_ENGINE);
    } else {
        while ((int32_t)(work.done - now.calls_before - count) < 0)
            tdco_wait_event(TDCO_EVENT_DONE);
    }
}

/* The DMA moves data both ways at the same time. A program relies on the order of copies, so one that touches what an
 * earlier one in the other direction touches waits for it. */
static void wait_overlapping(const transfer *t)
{
    for (uint32_t i = now.copies_started; i-- > now.copies_finished;) {
        const transfer *const earlier = &now.transfers[i % TDCO_DMA_COUNTERS];
        const int apart = (t->l1 >= earlier->l1_end || earlier->l1 >= t->l1_end)
            && (t->l2 >= earlier->l2_end || earlier->l2 >= t->l2_end);
        if (earlier->to_l1 != t->to_l1 && !apart)
            wait_copies(i + 1);
    }
}

void tdco_port_copy(const tdco_copy *copy)
{
    const int32_t last_row = (int32_t)(copy->rows - 1) * copy->stride_bytes;
    transfer *const slot = &now.transfers[now.copies_started % TDCO_DMA_COUNTERS];
    const transfer t = {
        .to_l1 = copy->to_l1,
        .l1 = copy->l1,
        .l1_end = copy->l1 + copy->rows * copy->row_bytes,
        .l2 = copy->l2 + (last_row < 0 ? (uint32_t)last_row : 0),
        .l2_end = copy->l2 + (last_row > 0 ? (uint32_t)last_row : 0) + copy->row_bytes,
    };
    if (now.copies_started >= TDCO_DMA_COUNTERS)
        wait_copies(now.copies_started - TDCO_DMA_COUNTERS + 1);
    wait_overlapping(&t);
    *slot = t;
    slot->counter = tdco_dma_start(
        copy->l1, copy->l2, copy->row_bytes, copy->rows, copy->stride_bytes, copy->to_l1 != 0);
    now.copies_started++;
}

void tdco_port_gemm(const tdco_job *job)
{
    const uint32_t *const words = (const uint32_t *)job;
    while ((int32_t)engine(TDCO_REG_ACQUIRE) < 0)
        tdco_wait_event(TDCO_EVENT_ENGINE);
    for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
        *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_X_ADDR + 4 * i) = words[i];
    *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_TRIGGER) = 0;
}

void tdco_port_call(const tdco_call *call)
{
    const uint32_t posted = work.posted;
    slot *const s = &work.slots[posted % SLOTS];
    while (posted - work.done >= SLOTS)
        tdco_wait_event(TDCO_EVENT_DONE);
    s->kernel = call->kernel;
    for (uint32_t i = 0; i < TDCO_MAX_PTRS; i++)
        s->args.p[i] = tdco_ptr(call->addr[i]);
    for (uint32_t i = 0; i < TDCO_MAX_INTS; i++)
        s->i[i] = call->i[i];
    for (uint32_t i = 0; i < TDCO_MAX_FLOATS; i++)
        s->f[i] = call->f[i];
    s->args.i = s->i;
    s->args.f = s->f;
    work.posted = posted + 1;
    tdco_send_event(TDCO_EVENT_WORK, WORKERS);
}

static void work_for_ever(uint32_t core)
{
    for (uint32_t n = 0;;) {
        tdco_wait_event(TDCO_EVENT_WORK);
        for (; n != work.posted; n++) {
            const slot *const s = &work.slots[n % SLOTS];
            s->kernel(&s->args, core, TDCO_CORES);
            tdco_barrier(TDCO_BARRIER_WORKERS);
            if (core == 0) {
                work.done = n + 1;
                tdco_send_event(TDCO_EVENT_DONE, CONTROLLER);
            }
        }
    }
}

void tdco_start(uint32_t hart)
{
    if (hart != TDCO_CORES)
        work_for_ever(hart);
    *tdco_reg(TDCO_ICACHE_BASE + TDCO_ICACHE_ENABLE) = 1;
    tdco_barrier_setup(TDCO_BARRIER_WORKERS, WORKERS);
    if (engine(TDCO_REG_ID) != tdco_prog.config_hash) {
        tdco_printf("the engine is %08x, the program was compiled for %08x\n", engine(TDCO_REG_ID),
            tdco_prog.config_hash);
        tdco_exit(1);
    }
    tdco_run(&tdco_prog);
    tdco_exit(0);
}
