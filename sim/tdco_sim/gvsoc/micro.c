/* The microbenchmarks: one program for every simulator of the cluster. Each leaves its name and its cycles in
 * `results`; the controller runs them, the workers help. */
#include "cluster.h"
#include "port.h"
#include "tdco.h"

enum { ROOM = 128, WORKERS = (1 << TDCO_CORES) - 1, CONTROLLER = 1 << TDCO_CORES, REPEAT = 32 };

typedef struct {
    const char *name;
    uint32_t cycles;
} measurement;

extern measurement results[ROOM];
measurement results[ROOM];

typedef void task(uint32_t core);

/* What the controller asks of the workers, and what they say. */
static struct {
    task *volatile run;
    tdco_kernel *volatile kernel;
    volatile tdco_args args;
    volatile uint32_t cycles[TDCO_CORES];
    volatile uint32_t stop, alone;
} shared TDCO_L1_DATA;

/* The same code again: at last with a warm fetch path. */
#define AS_A_LOOP _Pragma("clang loop unroll(disable)")
#define TWICE AS_A_LOOP for (int round = 0; round < 2; round++)
#define OFTEN AS_A_LOOP for (int round = 0; round < 8; round++)

static uint32_t measured;

static const uint32_t l1 = TDCO_L1_BASE + TDCO_L1_RESERVED_BYTES;

static void record(const char *name, uint32_t cycles)
{
    results[measured].name = name;
    results[measured++].cycles = cycles;
}

/* Cycles of REPEAT times the asm text, warm, without those of reading the counter. %2 holds `address`. */
#define CYCLES(address, before_text, text)\
    ({                                                                                                             \
        uint32_t before, after, spent = 0;                                                                         \
        TWICE {                                                                                                     \
            __asm__ volatile(before_text "\n .balign 16\n csrr %0, mcycle\n .rept 32\n" text                       \
                             "\n .endr\n csrr %1, mcycle"                                                          \
                             : "=&r"(before), "=&r"(after)                                                         \
                             : "r"(address)                                                                        \
                             : "t0", "t1", "t2", "t3", "t4", "t5", "memory");                                      \
            spent = after - before - 1;                                                                            \
        }                                                                                                          \
        spent;                                                                                                     \
    })

#define PIPELINE(name, before_text, text) record("pipeline: " name, CYCLES(l1 + 256, before_text, text))

static void pipeline(void)
{
    *(volatile uint32_t *)(l1 + 256) = 1;
    PIPELINE("addition", "", "add t0, t1, t2");
    PIPELINE("compressed addition", "", "c.add t0, t1");
    PIPELINE("multiplication", "", "mul t0, t1, t2");
    PIPELINE("multiplication, then its use", "", "mul t0, t1, t2\n add t3, t0, t0");
    PIPELINE("multiplication, another instruction, use", "", "mul t0, t1, t2\n add t4, t1, t2\n add t3, t0, t0");
    PIPELINE("high half of a product", "", "mulhu t0, t1, t2");
    PIPELINE("high half of a product, then its use", "", "mulh t0, t1, t2\n add t3, t0, t0");
    PIPELINE("division by 3", "li t1, 1000\n li t2, 3", "divu t0, t1, t2");
    PIPELINE("division by 2^20", "li t1, -1\n li t2, 0x100000", "divu t0, t1, t2");
    PIPELINE("signed division by -3", "li t1, 1000\n li t2, -3", "div t0, t1, t2");
    PIPELINE("division by 0", "li t1, 1000\n li t2, 0", "divu t0, t1, t2");
    PIPELINE("remainder by 3", "li t1, 1000\n li t2, 3", "remu t0, t1, t2");
    PIPELINE("signed remainder by -3", "li t1, 1000\n li t2, -3", "rem t0, t1, t2");
    PIPELINE("load, result unused", "", "lw t0, 0(%2)");
    PIPELINE("load, then its use", "", "lw t0, 0(%2)\n add t1, t0, t0");
    PIPELINE("load, another instruction, use", "", "lw t0, 0(%2)\n add t2, t3, t4\n add t1, t0, t0");
    PIPELINE("halfword load, then its use", "", "lhu t0, 0(%2)\n add t1, t0, t0");
    PIPELINE("store", "", "sw t0, 0(%2)");
    PIPELINE("load, then store of the result", "", "lw t0, 0(%2)\n sw t0, 4(%2)");
    PIPELINE("branch not taken", "", "bne zero, zero, 1f\n 1:");
    PIPELINE("branch taken", "", "beq zero, zero, 1f\n 1:");
    PIPELINE("jump", "", "j 1f\n 1:");
    PIPELINE("indirect jump", "", "la t0, 1f\n jr t0\n 1:");
    PIPELINE("loop of four", "", "li t0, 4\n 1: addi t0, t0, -1\n bnez t0, 1b");
    PIPELINE("fp32 addition", "li t1, 0x3F800000\n mv t2, t1", "fadd.s t0, t1, t2");
    PIPELINE("fp32 addition, dependent", "li t0, 0\n li t1, 0x3F800000", "fadd.s t0, t0, t1");
    PIPELINE("fp32 multiplication", "li t1, 0x3F800000\n mv t2, t1", "fmul.s t0, t1, t2");
    PIPELINE("fp32 multiply-add, dependent", "li t0, 0\n li t1, 0x3F800000", "fmadd.s t0, t1, t1, t0");
    PIPELINE("fp32 division", "li t1, 0x3F800000\n mv t2, t1", "fdiv.s t0, t1, t2");
    PIPELINE("fp32 square root", "li t1, 0x3F800000", "fsqrt.s t0, t1");
    PIPELINE("fp32 comparison", "li t1, 0x3F800000", "flt.s t0, t1, t1");
    PIPELINE("fp32 minimum", "li t1, 0x3F800000", "fmin.s t0, t1, t1");
    PIPELINE("fp32 to integer", "li t1, 0x3F800000", "fcvt.w.s t0, t1");
    PIPELINE("integer to fp32", "li t1, 7", "fcvt.s.w t0, t1");
    PIPELINE("fp16 addition", "li t1, 0x3C00\n mv t2, t1", "fadd.h t0, t1, t2");
    PIPELINE("fp16 addition, dependent", "li t0, 0\n li t1, 0x3C00", "fadd.h t0, t0, t1");
    PIPELINE("fp16 multiply-add, dependent", "li t0, 0\n li t1, 0x3C00", "fmadd.h t0, t1, t1, t0");
    PIPELINE("fp16 division", "li t1, 0x3C00\n mv t2, t1", "fdiv.h t0, t1, t2");
    PIPELINE("fp16 square root", "li t1, 0x3C00", "fsqrt.h t0, t1");
    PIPELINE("fp16 to fp32", "li t1, 0x3C00", "fcvt.s.h t0, t1");
    PIPELINE("fp32 to fp16", "li t1, 0x3F800000", "fcvt.h.s t0, t1");
    PIPELINE("fp16 loaded and converted", "", "lhu t0, 0(%2)\n fcvt.s.h t1, t0");
}

static void memories(void)
{
    record("memory: load from L2", CYCLES(TDCO_L2_BASE, "", "lw t0, 0(%2)"));
    record("memory: store to L2", CYCLES(TDCO_L2_BASE, "", "sw zero, 0(%2)"));
    record("memory: load from the engine", CYCLES(TDCO_ENGINE_BASE + TDCO_REG_STATUS, "", "lw t0, 0(%2)"));
    record("memory: load from the L3 DMA", CYCLES(TDCO_L3_DMA_BASE + TDCO_L3_DMA_FINISHED, "", "lw t0, 0(%2)"));
    record("memory: load from the event unit", CYCLES(TDCO_EVENT_UNIT_BASE + TDCO_EU_MASK, "", "lw t0, 0(%2)"));
    record("memory: store to the event unit", CYCLES(TDCO_EVENT_UNIT_BASE + TDCO_EU_MASK, "", "sw zero, 0(%2)"));
    record("memory: load from the DMA", CYCLES(TDCO_DMA_BASE + TDCO_DMA_STATUS, "", "lw t0, 0(%2)"));
}

#define STRAIGHT_LINE ".rept 255\n add t0, t1, t2\n .endr"

__attribute__((noinline)) static uint32_t straight_line(void)
{
    uint32_t before, after;
    __asm__ volatile(".balign 64\n csrr %0, mcycle\n" STRAIGHT_LINE "\n csrr %1, mcycle"
                     : "=&r"(before), "=&r"(after) : : "t0", "t1", "t2");
    return after - before - 1;
}

__attribute__((noinline)) static uint32_t straight_line_of_workers(void)
{
    uint32_t before, after;
    __asm__ volatile(".balign 64\n csrr %0, mcycle\n" STRAIGHT_LINE "\n csrr %1, mcycle"
                     : "=&r"(before), "=&r"(after) : : "t0", "t1", "t2");
    return after - before - 1;
}

/* Runs `run` on the workers and returns the cycles of the slowest, each as it left them in shared.cycles. */
static uint32_t on_workers(task *run)
{
    shared.run = run;
    tdco_send_event(TDCO_EVENT_WORK, WORKERS);
    tdco_wait_event(TDCO_EVENT_DONE);
    uint32_t most = 0;
    for (uint32_t i = 0; i < TDCO_CORES; i++)
        most = shared.cycles[i] > most ? shared.cycles[i] : most;
    return most;
}

static void fetch_of_one(uint32_t core)
{
    if (core == 0)
        shared.cycles[0] = straight_line_of_workers();
}

static void fetch_of_all(uint32_t core)
{
    shared.cycles[core] = straight_line_of_workers();
}

static void fetch(void)
{
    record("fetch: 1 KiB, cache off", straight_line());
    *tdco_reg(TDCO_ICACHE_BASE + TDCO_ICACHE_ENABLE) = 1;
    record("fetch: 1 KiB, cold", straight_line());
    record("fetch: 1 KiB, warm", straight_line());
    for (uint32_t i = 0; i < TDCO_CORES; i++)
        shared.cycles[i] = 0;
    record("fetch: 1 KiB, worker 0, cold", on_workers(fetch_of_one));
    record("fetch: 1 KiB, worker 0, beyond its own cache", on_workers(fetch_of_one));
    record("fetch: 1 KiB, all workers, beyond their own caches", on_workers(fetch_of_all));
}

static void barriers(uint32_t core)
{
    tdco_barrier(TDCO_BARRIER_WORKERS);
    const uint32_t before = tdco_cycles();
    AS_A_LOOP
    for (int i = 0; i < REPEAT; i++)
        tdco_barrier(TDCO_BARRIER_WORKERS);
    shared.cycles[core] = tdco_cycles() - before;
}

static void late_barriers(uint32_t core)
{
    tdco_barrier(TDCO_BARRIER_WORKERS);
    const uint32_t before = tdco_cycles();
    AS_A_LOOP
    for (int i = 0; i < REPEAT; i++) {
        if (core == 3)
            __asm__ volatile(".rept 100\n add zero, t1, t2\n .endr");
        tdco_barrier(TDCO_BARRIER_WORKERS);
    }
    shared.cycles[core] = tdco_cycles() - before;
}

static void answer_events(uint32_t core)
{
    if (core != 0)
        return;
    AS_A_LOOP
    for (int i = 0; i < REPEAT; i++) {
        tdco_wait_event(2);
        tdco_send_event(3, CONTROLLER);
    }
}

static void synchronisation(void)
{
    on_workers(barriers);
    record("event unit: 32 barriers in step", on_workers(barriers));
    on_workers(late_barriers);
    record("event unit: 32 barriers with one 100 cycles late", on_workers(late_barriers));
    TWICE {
        shared.run = answer_events;
        tdco_send_event(TDCO_EVENT_WORK, WORKERS);
        const uint32_t before = tdco_cycles();
        AS_A_LOOP
        for (int i = 0; i < REPEAT; i++) {
            tdco_send_event(2, 1);
            tdco_wait_event(3);
        }
        if (round)
            record("event unit: 32 times worker 0 woken and back", tdco_cycles() - before);
        tdco_wait_event(TDCO_EVENT_DONE);
    }
    TWICE {
        const uint32_t before = tdco_cycles();
        AS_A_LOOP
        for (int i = 0; i < REPEAT; i++) {
            tdco_send_event(2, CONTROLLER);
            tdco_wait_event(2);
        }
        if (round)
            record("event unit: 32 waits for an event that is there", tdco_cycles() - before);
    }
}

static uint32_t copy(uint32_t l2, uint32_t row_bytes, uint32_t rows, int32_t stride_bytes, int to_l1)
{
    const uint32_t before = tdco_cycles();
    const uint32_t counter = tdco_dma_start(l1, l2, row_bytes, rows, stride_bytes, to_l1);
    while (tdco_dma_busy(counter))
        tdco_wait_event(TDCO_EVENT_DMA);
    return tdco_cycles() - before;
}

/* Twice, the second time with a warm fetch path. */
#define COPY(name, ...)                                                                                            \
    do {                                                                                                           \
        uint32_t cycles = 0;                                                                                       \
        TWICE                                                                                                         \
            cycles = copy(__VA_ARGS__);                                                                            \
        record("DMA: " name, cycles);                                                                              \
    } while (0)

static void dma(void)
{
    COPY("64 bytes to L1", TDCO_L2_BASE, 64, 1, 0, 1);
    COPY("64 bytes from L1", TDCO_L2_BASE, 64, 1, 0, 0);
    COPY("1 KiB to L1", TDCO_L2_BASE, 1024, 1, 0, 1);
    COPY("1 KiB from L1", TDCO_L2_BASE, 1024, 1, 0, 0);
    COPY("16 KiB to L1", TDCO_L2_BASE, 16384, 1, 0, 1);
    COPY("16 KiB from L1", TDCO_L2_BASE, 16384, 1, 0, 0);
    COPY("64 rows of 64 bytes to L1", TDCO_L2_BASE, 64, 64, 128, 1);
    COPY("64 rows of 64 bytes from L1", TDCO_L2_BASE, 64, 64, 128, 0);
    COPY("64 rows of 8 bytes to L1", TDCO_L2_BASE, 8, 64, 32, 1);
    COPY("64 rows of 8 bytes from L1", TDCO_L2_BASE, 8, 64, 32, 0);
    COPY("64 rows of 2 bytes to L1", TDCO_L2_BASE, 2, 64, 32, 1);
    COPY("64 rows of 2 bytes from L1", TDCO_L2_BASE, 2, 64, 32, 0);
    COPY("32 rows of 14 bytes, odd halfwords, to L1", TDCO_L2_BASE + 2, 14, 32, 18, 1);
    COPY("32 rows of 14 bytes, odd halfwords, from L1", TDCO_L2_BASE + 2, 14, 32, 18, 0);
    uint32_t spent = 0;
    TWICE {
        const uint32_t before = tdco_cycles();
        const uint32_t in = tdco_dma_start(l1, TDCO_L2_BASE, 8192, 1, 0, 1);
        const uint32_t out = tdco_dma_start(l1 + 16384, TDCO_L2_BASE + 16384, 8192, 1, 0, 0);
        while (tdco_dma_busy(in))
            tdco_wait_event(TDCO_EVENT_DMA);
        while (tdco_dma_busy(out))
            tdco_wait_event(TDCO_EVENT_DMA);
        spent = tdco_cycles() - before;
    }
    record("DMA: 8 KiB to L1 and 8 KiB from L1 together", spent);
    TWICE {
        uint32_t counters[4];
        const uint32_t before = tdco_cycles();
        for (uint32_t i = 0; i < 4; i++)
            counters[i] = tdco_dma_start(l1 + 1024 * i, TDCO_L2_BASE + 1024 * i, 256, 1, 0, 1);
        for (uint32_t i = 0; i < 4; i++)
            while (tdco_dma_busy(counters[i]))
                tdco_wait_event(TDCO_EVENT_DMA);
        spent = tdco_cycles() - before;
    }
    record("DMA: four times 256 bytes to L1, queued", spent);
}

static void l3(void)
{
    static const char *const names[] = {"L3: 256 bytes out", "L3: 256 bytes in", "L3: 4 KiB out", "L3: 4 KiB in"};
    for (uint32_t i = 0; i < 6; i++) { /* the first two to warm up */
        const uint32_t before = tdco_cycles();
        tdco_l3_copy(TDCO_L2_BASE, TDCO_L3_BASE, i < 4 ? 256 : 4096, i & 1);
        const uint32_t spent = tdco_cycles() - before;
        if (i >= 2)
            record(names[i - 2], spent);
    }
}

#define STORM(name, stride, text)                                                                                  \
    static void name(uint32_t core)                                                                                \
    {                                                                                                              \
        OFTEN {                                                                                                     \
            tdco_barrier(TDCO_BARRIER_WORKERS);                                                                    \
            uint32_t before, after;                                                                                \
            __asm__ volatile(".balign 16\n csrr %0, mcycle\n .rept 64\n" text "\n .endr\n csrr %1, mcycle"         \
                             : "=&r"(before), "=&r"(after)                                                         \
                             : "r"(l1 + 4 * TDCO_L1_BANKS + (stride) * core)                                       \
                             : "t0", "t1", "memory");                                                              \
            shared.cycles[core] = after - before - 1;                                                              \
        }                                                                                                          \
    }

STORM(stores_apart, 4, "sw zero, 0(%2)")
STORM(stores_together, 4 * TDCO_L1_BANKS, "sw zero, 0(%2)")
STORM(loads_together, 4 * TDCO_L1_BANKS, "lw t0, 0(%2)")
STORM(pairs_together, 4 * (TDCO_L1_BANKS / 2), "lw t0, 0(%2)")
STORM(half_together, 4 * TDCO_L1_BANKS, "lw t0, 0(%2)\n add t1, t1, t1")

STORM(seldom_together, 4 * TDCO_L1_BANKS, "lw t0, 0(%2)\n .rept 15\n add t1, t1, t1\n .endr")
STORM(fp_additions, 0, "fadd.s t0, zero, zero")
STORM(fp_divisions, 0, "fdiv.s t0, zero, zero")

/* Every core walks a region of its own, a different bank each time. */
static void walk(uint32_t core)
{
    volatile uint32_t *const data = (volatile uint32_t *)(l1 + 0x400 * core);
    OFTEN {
        tdco_barrier(TDCO_BARRIER_WORKERS);
        const uint32_t before = tdco_cycles();
        uint32_t sum = 0;
        AS_A_LOOP
        for (uint32_t i = 0; i < 256; i++)
            sum += data[i];
        data[0] = sum;
        shared.cycles[core] = tdco_cycles() - before;
    }
}

static void banks(void)
{
    for (uint32_t i = 0; i < 0x2000; i += 4)
        *(volatile uint32_t *)(l1 + i) = i;
    record("banks: 64 stores of 8 cores, a bank each", on_workers(stores_apart));
    record("banks: 64 stores of 8 cores to one bank", on_workers(stores_together));
    record("banks: 64 loads of 8 cores from one bank", on_workers(loads_together));
    record("banks: 64 loads of 8 cores from two banks", on_workers(pairs_together));
    record("banks: 64 loads and additions of 8 cores, one bank", on_workers(half_together));
    record("banks: 64 loads of 8 cores, one bank, every 16 cycles", on_workers(seldom_together));
    record("banks: 8 cores sum 1 KiB each", on_workers(walk));
}

static void fp_units(void)
{
    record("fp units: 64 fp32 additions of 8 cores", on_workers(fp_additions));
    record("fp units: 64 fp32 divisions of 8 cores", on_workers(fp_divisions));
}

static void make_traffic(uint32_t core)
{
    volatile uint32_t *const mine = (volatile uint32_t *)(l1 + 0x10000 + 0x400 * core);
    for (uint32_t i = 0; !shared.stop; i++)
        mine[i * 5 % 64] = i;
}

static void dma_under_traffic(void)
{
    shared.stop = 0;
    shared.run = make_traffic;
    tdco_send_event(TDCO_EVENT_WORK, WORKERS);
    COPY("16 KiB to L1 while 8 cores store", TDCO_L2_BASE, 16384, 1, 0, 1);
    COPY("16 KiB from L1 while 8 cores store", TDCO_L2_BASE, 16384, 1, 0, 0);
    shared.stop = 1;
    tdco_wait_event(TDCO_EVENT_DONE);
}

static void run_kernel(uint32_t core)
{
    const uint32_t before = tdco_cycles();
    if (core == 0 || !shared.alone)
        shared.kernel((const tdco_args *)&shared.args, core, TDCO_CORES);
    tdco_barrier(TDCO_BARRIER_WORKERS);
    shared.cycles[core] = tdco_cycles() - before;
}

static void kernel(const char *const *names, tdco_kernel *call, void *const *p, const int32_t *i, const float *f)
{
    for (uint32_t at = 0; at < 0x8000; at += 4)
        *(volatile uint32_t *)(l1 + at) = 0x38003A00 + (at & 0x3FC) * 0x10001; /* binary16 around one */
    shared.kernel = call;
    for (uint32_t k = 0; k < TDCO_MAX_PTRS; k++)
        shared.args.p[k] = p[k];
    shared.args.i = i;
    shared.args.f = f;
    record(names[0], on_workers(run_kernel));
    on_workers(run_kernel);
    record(names[1], on_workers(run_kernel));
    shared.alone = 1;
    record(names[2], on_workers(run_kernel));
    shared.alone = 0;
}

#define KERNEL(symbol, ints, floats, ...)                                                                          \
    do {                                                                                                           \
        extern tdco_kernel symbol;                                                                                 \
        void *const p[TDCO_MAX_PTRS] = {__VA_ARGS__};                                                              \
        static const int32_t i[TDCO_MAX_INTS] = ints;                                                              \
        static const float f[TDCO_MAX_FLOATS] = floats;                                                            \
        static const char *const names[]                                                                           \
            = {"kernel: " #symbol ", cold", "kernel: " #symbol ", warm", "kernel: " #symbol ", worker 0 alone"};   \
        kernel(names, symbol, p, i, f);                                                               \
    } while (0)
#define LIST(...) {__VA_ARGS__}
#define AT(offset) tdco_ptr(l1 + (offset))

static void kernels(void)
{
    KERNEL(tdco_relu_f16, LIST(2048), LIST(0), AT(0), AT(0x4000));
    KERNEL(tdco_gelu_f16, LIST(1024), LIST(0), AT(0), AT(0x4000));
    KERNEL(tdco_softmax_f16, LIST(32, 64, 8), LIST(1.0f), AT(0), AT(0x4000), AT(0x5000));
    KERNEL(tdco_softmax_grad_f16, LIST(32, 64), LIST(1.0f), AT(0), AT(0x1000), AT(0x4000));
    KERNEL(tdco_layer_norm_f16, LIST(32, 64), LIST(1e-5f), AT(0), AT(0x1000), AT(0x1100), AT(0x4000), AT(0x5000),
        AT(0x5100));
    KERNEL(tdco_sgd_f32, LIST(1024), LIST(0.01f), AT(0), AT(0x1000), AT(0x2000), AT(0x4000), AT(0x6000));
}

static uint32_t gemm(uint32_t m, uint32_t n, uint32_t k)
{
    const uint32_t words[TDCO_JOB_WORDS]
        = {l1, l1 + 0x3000, 0, l1 + 0x6000, 2 * k, 2 * n, 0, 2 * n, n << 16 | m, k};
    uint32_t spent = 0;
    TWICE {
        for (uint32_t i = 0; i < TDCO_JOB_WORDS; i++)
            *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_X_ADDR + 4 * i) = words[i];
        const uint32_t before = tdco_cycles();
        *tdco_reg(TDCO_ENGINE_BASE + TDCO_REG_TRIGGER) = 0;
        tdco_wait_event(TDCO_EVENT_ENGINE);
        spent = tdco_cycles() - before;
    }
    return spent;
}

static void engine(void)
{
    for (uint32_t i = 0; i < 0x9000; i += 4)
        *(volatile uint32_t *)(l1 + i) = 0;
    record("engine: 48x64x48", gemm(48, 64, 48));
    record("engine: 17x19x13", gemm(17, 19, 13));
    shared.stop = 0;
    shared.run = make_traffic;
    tdco_send_event(TDCO_EVENT_WORK, WORKERS);
    record("engine: 48x64x48 while 8 cores store", gemm(48, 64, 48));
    shared.stop = 1;
    tdco_wait_event(TDCO_EVENT_DONE);
}

static void print(void)
{
    TWICE {
        const uint32_t before = tdco_cycles();
        tdco_printf("%s %d %u %08x%c\n", "printed:", -7, 42, 0xBEEF, '.');
        const uint32_t spent = tdco_cycles() - before;
        if (round)
            record("print: a line of 25 characters", spent);
    }
}

static void work_for_ever(uint32_t core)
{
    for (;;) {
        tdco_wait_event(TDCO_EVENT_WORK);
        shared.run(core);
        tdco_barrier(TDCO_BARRIER_WORKERS);
        if (core == 0)
            tdco_send_event(TDCO_EVENT_DONE, CONTROLLER);
    }
}

void tdco_start(uint32_t hart)
{
    if (hart != TDCO_CORES)
        work_for_ever(hart);
    tdco_barrier_setup(TDCO_BARRIER_WORKERS, WORKERS);
    for (uint32_t i = 0; i < 0x8000; i += 4)
        *(volatile uint32_t *)(TDCO_L2_BASE + i) = i;
    for (uint32_t i = 0; i < 0x11800; i += 4)
        *(volatile uint32_t *)(l1 + i) = 0;
    fetch();
    pipeline();
    memories();
    synchronisation();
    dma();
    l3();
    banks();
    fp_units();
    dma_under_traffic();
    kernels();
    engine();
    print();
    tdco_exit(42);
}
