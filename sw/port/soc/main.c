/* A compiled program on the cluster: the controller issues commands, the workers run kernels, engine and DMA work
 * beside them. */
#include "cluster.h"
#include "port.h"
#include "tdco.h"

enum {
    WORKERS = (1 << TDCO_CORES) - 1,
    CONTROLLER = 1 << TDCO_CORES,
    EVENTS = 1 << TDCO_EVENT_DMA | 1 << TDCO_EVENT_L3_DMA | 1 << TDCO_EVENT_ENGINE | 1 << TDCO_EVENT_DONE,
};

typedef struct {
    tdco_kernel *kernel;
    tdco_args args;
    int32_t i[TDCO_MAX_INTS];
    float f[TDCO_MAX_FLOATS];
} slot;

/* Copies of one direction; `counters`: a bit for each of the DMA's that one under way has. */
typedef struct {
    uint32_t counters;
    uint32_t words[5], n_words; /* of the staged one: what the DMA is told */
} channel;

/* Shared by controller and workers. */
static slot slots[TDCO_CALLS_POSTED] TDCO_KERNEL_ARGUMENTS = {
    {.args = {.i = slots[0].i, .f = slots[0].f}},
    {.args = {.i = slots[1].i, .f = slots[1].f}},
};
static struct {
    volatile uint32_t posted, done; /* kernel calls, since the start */
} work TDCO_L1_DATA;

/* The command issued last, for whoever looks at a stopped run. */
volatile uint32_t tdco_command_index TDCO_L1_DATA;

/* The controller's own. */
static struct {
    const tdco_copy *copies[2]; /* TDCO_IN, TDCO_OUT: the next ones to stage, in tables that are in L2 */
    const tdco_job *job;
    const tdco_call *call;
    const tdco_move *move;
    uint32_t jobs_before, moves_before; /* at tdco_port_begin() */
    channel channels[2];                /* TDCO_IN, TDCO_OUT */
    uint32_t to_l2;                     /* direction of the staged move */
} now TDCO_L1_DATA;

static uint32_t engine(uint32_t reg)
{
    return *tdco_reg(TDCO_ENGINE_BASE + reg);
}

static uint32_t moves_finished(void)
{
    return *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_FINISHED) - now.moves_before;
}

void tdco_port_begin(const tdco_program *program)
{
    now.copies[TDCO_IN] = program->ins;
    now.copies[TDCO_OUT] = program->outs;
    now.job = program->jobs;
    now.call = program->calls;
    now.move = program->moves;
    now.jobs_before = engine(TDCO_REG_FINISHED);
    now.moves_before = *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_FINISHED);
    *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_FLAGS) = TDCO_FLAG_NONFINITE;
    *tdco_reg(TDCO_EVENT_UNIT_BASE + TDCO_EU_MASK) = EVENTS;
}

/* Frees the counters of the copies that have finished, which they do in their order, and returns how many. */
static uint32_t copies_finished(channel *c, uint32_t busy)
{
    uint32_t n = 0, over = c->counters & ~busy;
    *tdco_reg(TDCO_DMA_BASE + TDCO_DMA_STATUS) = over;
    c->counters ^= over;
    for (; over; over &= over - 1)
        n++;
    return n;
}

/* An event is cleared before what it tells is read, so that none is lost. */
uint32_t tdco_port_poll(uint32_t finished[TDCO_KINDS])
{
    uint32_t advanced = 0;
    const uint32_t events = *tdco_reg(TDCO_EVENT_UNIT_BASE + TDCO_EU_BUFFER) & EVENTS;
    if (!events)
        return 0;
    *tdco_reg(TDCO_EVENT_UNIT_BASE + TDCO_EU_BUFFER_CLEAR) = events;
    if (events & 1 << TDCO_EVENT_DMA) {
        const uint32_t busy = *tdco_reg(TDCO_DMA_BASE + TDCO_DMA_STATUS);
        for (uint32_t kind = TDCO_IN; kind <= TDCO_OUT; kind++)
            if (now.channels[kind].counters & ~busy) {
                finished[kind] += copies_finished(&now.channels[kind], busy);
                advanced |= 1u << kind;
            }
    }
    if (events & 1 << TDCO_EVENT_ENGINE) {
        finished[TDCO_GEMM] = engine(TDCO_REG_FINISHED) - now.jobs_before;
        advanced |= 1 << TDCO_GEMM;
    }
    if (events & 1 << TDCO_EVENT_DONE) {
        finished[TDCO_CALL] = work.done;
        advanced |= 1 << TDCO_CALL;
    }
    if (events & 1 << TDCO_EVENT_L3_DMA) {
        finished[TDCO_L3] = *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_FINISHED) - now.moves_before;
        advanced |= 1 << TDCO_L3;
    }
    return advanced;
}

/* Loads all that is needed from L2 while the commands before it still run. */
static void stage_copy(uint32_t kind, const tdco_copy *copy)
{
    channel *const c = &now.channels[kind];
    const uint32_t rows = copy->rows, row_bytes = copy->row_bytes;
    c->words[0] = rows * row_bytes | TDCO_DMA_COMMAND_INCREMENT | TDCO_DMA_COMMAND_EVENT
        | (kind == TDCO_IN ? TDCO_DMA_COMMAND_TO_L1 : 0);
    c->words[1] = copy->l1;
    c->words[2] = copy->l2;
    c->n_words = 3;
    if (rows == 1)
        return;
    c->words[0] |= TDCO_DMA_COMMAND_2D;
    c->words[3] = row_bytes;
    c->words[4] = (uint32_t)copy->stride_bytes;
    c->n_words = 5;
}

static void start_copy(channel *c)
{
    volatile uint32_t *const command = tdco_reg(TDCO_DMA_BASE + TDCO_DMA_COMMAND);
    c->counters |= 1u << *command;
    for (uint32_t i = 0; i < c->n_words; i++)
        *command = c->words[i];
}

static void tell_engine(uint32_t reg, uint32_t value)
{
    *tdco_reg(TDCO_ENGINE_BASE + reg) = value;
}

/* The job registers hold the staged job; TRIGGER queues it. They keep their values, so that only what differs from the
 * job before is read and written. */
static void stage_job(const tdco_job *job)
{
    const uint32_t *const words = &job->x;
    const uint32_t k_flags = words[(TDCO_REG_K_FLAGS - TDCO_REG_X_ADDR) / 4];
    tell_engine(TDCO_REG_K_FLAGS, k_flags & ~((uint32_t)TDCO_JOB_LIKE_LAST << 16));
    tell_engine(TDCO_REG_X_ADDR, job->x);
    tell_engine(TDCO_REG_W_ADDR, job->w);
    tell_engine(TDCO_REG_Z_ADDR, job->z);
    if (k_flags & (uint32_t)TDCO_JOB_Y << 16)
        tell_engine(TDCO_REG_Y_ADDR, job->y);
    if (k_flags & (uint32_t)TDCO_JOB_LIKE_LAST << 16)
        return;
    for (uint32_t reg = TDCO_REG_X_STRIDE; reg < TDCO_REG_K_FLAGS; reg += 4)
        tell_engine(reg, words[(reg - TDCO_REG_X_ADDR) / 4]);
}

/* The L3 DMA holds one transfer, the one that runs, and the registers of the next. */
static void stage_move(const tdco_move *move)
{
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_L2_ADDR) = move->l2;
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_L3_ADDR) = move->l3;
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_LENGTH) = move->bytes;
    now.to_l2 = move->to_l2;
}

/* Most commands wait for one queue, or none: then the first word says all. */
static void read_when(const tdco_when *entry, tdco_when *when)
{
    *(uint32_t *)when = *(const uint32_t *)entry;
    if (!when->only)
        *when = *entry;
}

int tdco_port_stage(uint32_t kind, uint32_t index, tdco_when *when)
{
    (void)index; /* the one behind the last */
    if (kind == TDCO_GEMM) {
        read_when(&now.job->when, when);
        stage_job(now.job++);
    } else if (kind == TDCO_CALL) {
        read_when(&now.call++->when, when); /* the workers read the rest */
    } else if (kind == TDCO_L3) {
        read_when(&now.move->when, when);
        stage_move(now.move++);
    } else {
        read_when(&now.copies[kind]->when, when);
        stage_copy(kind, now.copies[kind]++);
    }
    return 1;
}

void tdco_port_start(uint32_t kind, uint32_t command)
{
    tdco_command_index = command;
    if (kind == TDCO_GEMM) {
        tell_engine(TDCO_REG_TRIGGER, 0);
    } else if (kind == TDCO_CALL) {
        slots[work.posted % TDCO_CALLS_POSTED].args.engine_finite = !(engine(TDCO_REG_FLAGS) & TDCO_FLAG_NONFINITE);
        work.posted++;
        tdco_send_event(TDCO_EVENT_WORK, WORKERS);
    } else if (kind == TDCO_L3) {
        *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_START) = now.to_l2;
    } else {
        start_copy(&now.channels[kind]);
    }
}

void tdco_port_sleep(void)
{
    tdco_sleep_at(TDCO_EVENT_UNIT_BASE + TDCO_EU_WAIT);
}

/* Each worker reads its share of a call's words in L2, and all of them have the call when they leave the barrier. */
static void read_call(slot *s, const tdco_call *call, uint32_t core)
{
    enum { HEAD_WORDS = 1 + TDCO_MAX_PTRS, WORDS = HEAD_WORDS + TDCO_MAX_INTS + TDCO_MAX_FLOATS };
    const uint32_t *const from = (const uint32_t *)&call->kernel;
    for (uint32_t word = core; word < WORDS; word += TDCO_CORES)
        (word < HEAD_WORDS ? (uint32_t *)s : (uint32_t *)s->i - HEAD_WORDS)[word] = from[word];
    tdco_barrier(TDCO_BARRIER_WORKERS);
}

static void work_for_ever(uint32_t core)
{
    const tdco_call *const calls = tdco_prog.calls;
    const uint32_t n = tdco_prog.n[TDCO_CALL];
    tdco_wait_event(TDCO_EVENT_WORK); /* the barrier is set up */
    for (uint32_t call = 0; call < n; call++) {
        slot *const s = &slots[call % TDCO_CALLS_POSTED];
        read_call(s, &calls[call], core);
        while (work.posted == call)
            tdco_wait_event(TDCO_EVENT_WORK);
        s->kernel(&s->args, core, TDCO_CORES);
        tdco_barrier(TDCO_BARRIER_WORKERS);
        if (core == 0) {
            work.done = call + 1;
            tdco_send_event(TDCO_EVENT_DONE, CONTROLLER);
        }
    }
}

void tdco_start(uint32_t hart)
{
    if (hart != TDCO_CORES) {
        work_for_ever(hart);
        return;
    }
    *tdco_reg(TDCO_ICACHE_BASE + TDCO_ICACHE_ENABLE) = 1;
    tdco_barrier_setup(TDCO_BARRIER_WORKERS, WORKERS);
    tdco_send_event(TDCO_EVENT_WORK, WORKERS);
    if (engine(TDCO_REG_ID) != tdco_prog.config_hash) {
        tdco_printf("the engine is %08x, the program was compiled for %08x\n", engine(TDCO_REG_ID),
            tdco_prog.config_hash);
        tdco_exit(1);
    }
    tdco_run(&tdco_prog);
    tdco_exit(0);
}
