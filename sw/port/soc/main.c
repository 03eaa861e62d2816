/* A compiled program on the cluster: the controller issues commands, the workers run kernels, engine and DMA work
 * beside them. */
#include "cluster.h"
#include "port.h"
#include "tdco.h"

enum {
    SLOTS = 4,
    IN_FLIGHT = TDCO_DMA_COUNTERS / 2, /* copies of one direction that the DMA holds at most */
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

/* Copies of one direction since tdco_port_begin(); `counters` of those the DMA holds, a ring. */
typedef struct {
    uint32_t started, finished;
    uint32_t words[5], two_d; /* of the staged one: what the DMA is told */
    uint8_t counters[IN_FLIGHT];
} channel;

/* Shared by controller and workers. */
static slot slots[SLOTS] TDCO_KERNEL_ARGUMENTS;
static struct {
    volatile uint32_t posted, done; /* kernel calls, since the start */
} work TDCO_L1_DATA;

/* The command issued last, for whoever looks at a stopped run. */
volatile uint32_t tdco_command_index TDCO_L1_DATA;

/* The controller's own. */
static struct {
    tdco_program program; /* its tables are in L2, where every word takes long to read */
    uint32_t jobs_before, calls_before; /* at tdco_port_begin() */
    channel channels[2];                /* TDCO_IN, TDCO_OUT */
    uint32_t moves_before, moves, to_l2; /* moves started since then; the staged one's direction */
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
    now.program = *program;
    now.jobs_before = engine(TDCO_REG_FINISHED);
    now.calls_before = work.posted;
    for (uint32_t kind = TDCO_IN; kind <= TDCO_OUT; kind++)
        now.channels[kind].started = now.channels[kind].finished = 0;
    now.moves_before = now.moves = 0;
    now.moves_before = moves_finished();
    *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_FLAGS) = TDCO_FLAG_NONFINITE;
}

void tdco_port_poll(uint32_t finished[TDCO_KINDS])
{
    volatile uint32_t *const status = tdco_reg(TDCO_DMA_BASE + TDCO_DMA_STATUS);
    const uint32_t busy = *status;
    for (uint32_t kind = TDCO_IN; kind <= TDCO_OUT; kind++) {
        channel *const c = &now.channels[kind];
        for (; c->finished != c->started; c->finished++) {
            const uint32_t bit = 1u << c->counters[c->finished % IN_FLIGHT];
            if (busy & bit)
                break;
            *status = bit; /* free again */
        }
        finished[kind] = c->finished;
    }
    finished[TDCO_GEMM] = engine(TDCO_REG_FINISHED) - now.jobs_before;
    finished[TDCO_CALL] = work.done - now.calls_before;
    if (finished[TDCO_L3] != now.moves)
        finished[TDCO_L3] = moves_finished();
}

/* Loads all that is needed from L2 while the commands before it still run. */
static int stage_copy(uint32_t kind, const tdco_copy *copy)
{
    channel *const c = &now.channels[kind];
    if (c->started - c->finished == IN_FLIGHT)
        return 0;
    const uint32_t rows = copy->rows, row_bytes = copy->row_bytes, stride_bytes = (uint32_t)copy->stride_bytes;
    c->two_d = rows > 1 && stride_bytes != row_bytes;
    c->words[0] = rows * row_bytes | TDCO_DMA_COMMAND_INCREMENT | TDCO_DMA_COMMAND_EVENT
        | (kind == TDCO_IN ? TDCO_DMA_COMMAND_TO_L1 : 0) | (c->two_d ? TDCO_DMA_COMMAND_2D : 0);
    c->words[1] = copy->l1;
    c->words[2] = copy->l2;
    c->words[3] = row_bytes;
    c->words[4] = stride_bytes;
    return 1;
}

static void start_copy(channel *c)
{
    volatile uint32_t *const command = tdco_reg(TDCO_DMA_BASE + TDCO_DMA_COMMAND);
    c->counters[c->started++ % IN_FLIGHT] = (uint8_t)*command;
    for (uint32_t i = 0; i < (c->two_d ? 5u : 3u); i++)
        *command = c->words[i];
}

/* The job registers hold the staged job; TRIGGER queues it. */
static int stage_job(const tdco_job *job)
{
    const uint32_t *const words = &job->x;
    if ((int32_t)engine(TDCO_REG_ACQUIRE) < 0)
        return 0;
    for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
        *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_X_ADDR + 4 * i) = words[i];
    return 1;
}

static int stage_call(const tdco_call *call)
{
    slot *const s = &slots[work.posted % SLOTS];
    if (work.posted - work.done == SLOTS)
        return 0;
    s->kernel = call->kernel;
    for (uint32_t i = 0; i < TDCO_MAX_PTRS; i++)
        s->args.p[i] = tdco_ptr(call->addr[i]);
    for (uint32_t i = 0; i < TDCO_MAX_INTS; i++)
        s->i[i] = call->i[i];
    for (uint32_t i = 0; i < TDCO_MAX_FLOATS; i++)
        s->f[i] = call->f[i];
    s->args.i = s->i;
    s->args.f = s->f;
    return 1;
}

/* The L3 DMA holds one transfer, the one that runs. */
static int stage_move(const tdco_move *move)
{
    if (moves_finished() != now.moves)
        return 0;
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_L2_ADDR) = move->l2;
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_L3_ADDR) = move->l3;
    *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_LENGTH) = move->bytes;
    now.to_l2 = move->to_l2;
    return 1;
}

int tdco_port_stage(uint32_t kind, uint32_t index, tdco_when *when)
{
    const tdco_when *const entry = tdco_entry(&now.program, kind, index);
    const int staged = kind == TDCO_GEMM ? stage_job((const tdco_job *)entry)
        : kind == TDCO_CALL              ? stage_call((const tdco_call *)entry)
        : kind == TDCO_L3              ? stage_move((const tdco_move *)entry)
                                         : stage_copy(kind, (const tdco_copy *)entry);
    if (staged)
        *when = *entry;
    return staged;
}

void tdco_port_start(uint32_t kind, uint32_t command)
{
    tdco_command_index = command;
    if (kind == TDCO_GEMM) {
        *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_TRIGGER) = 0;
    } else if (kind == TDCO_CALL) {
        slots[work.posted % SLOTS].args.engine_finite = !(engine(TDCO_REG_FLAGS) & TDCO_FLAG_NONFINITE);
        work.posted++;
        tdco_send_event(TDCO_EVENT_WORK, WORKERS);
    } else if (kind == TDCO_L3) {
        *tdco_reg(TDCO_L3_DMA_BASE + TDCO_L3_DMA_START) = now.to_l2;
        now.moves++;
    } else {
        start_copy(&now.channels[kind]);
    }
}

void tdco_port_sleep(void)
{
    *tdco_reg(TDCO_EVENT_UNIT_BASE + TDCO_EU_MASK) = EVENTS;
    tdco_sleep_at(TDCO_EVENT_UNIT_BASE + TDCO_EU_WAIT_CLEAR);
}

static void work_for_ever(uint32_t core)
{
    for (uint32_t n = 0;;) {
        tdco_wait_event(TDCO_EVENT_WORK);
        for (; n != work.posted; n++) {
            const slot *const s = &slots[n % SLOTS];
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
