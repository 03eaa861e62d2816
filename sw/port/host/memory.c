/* L1, L2 and L3 as arrays; copies and kernel calls on them. With AddressSanitizer, a command reaches only the planned
 * buffers its addresses lie in. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "host.h"
#include "port.h"
#include "tdco_hw.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#define ASAN_POISON_MEMORY_REGION(begin, bytes) ((void)(begin), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(begin, bytes) ((void)(begin), (void)(bytes))
#define __asan_region_is_poisoned(begin, bytes) ((void)(begin), (void)(bytes), (void *)0)
#endif

uint8_t host_l1[TDCO_L1_SIZE] __attribute__((aligned(64)));
uint8_t host_l2[TDCO_L2_SIZE] __attribute__((aligned(64)));
uint8_t host_l3[TDCO_L3_SIZE] __attribute__((aligned(64)));
uint32_t host_l3_bytes;

host_stats host_totals;
void (*host_on_command)(uint32_t done);

static struct {
    const tdco_program *program; /* NULL between steps */
    uint32_t steps, command;     /* the number of the running command, or of the next */
    uint32_t finished[TDCO_KINDS];
    const tdco_when *staged;
} now;

static const struct {
    uint8_t *bytes;
    uint32_t base, size;
    uint64_t *peak;
} memories[] = {
    {host_l1, TDCO_L1_BASE, TDCO_L1_SIZE, &host_totals.l1_peak_bytes},
    {host_l2, TDCO_L2_BASE, TDCO_L2_SIZE, &host_totals.l2_peak_bytes},
    {host_l3, TDCO_L3_BASE, TDCO_L3_SIZE, &host_totals.l3_peak_bytes},
};
enum { MEMORIES = sizeof memories / sizeof *memories };

void host_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    if (now.program)
        fprintf(stderr, "command %u: ", now.command);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

/* Which memory holds all of [addr, addr + bytes); MEMORIES if none does. */
static int memory_of(uint32_t addr, size_t bytes)
{
    for (int i = 0; i < MEMORIES; i++)
        if (addr >= memories[i].base && bytes <= memories[i].size && addr - memories[i].base <= memories[i].size - bytes)
            return i;
    return MEMORIES;
}

void *tdco_ptr(uint32_t addr)
{
    if (addr == 0)
        return NULL;
    const int memory = memory_of(addr, 1);
    if (memory == MEMORIES)
        host_fail("address 0x%08X is in no memory", addr);
    return memories[memory].bytes + (addr - memories[memory].base);
}

void host_touch(uint32_t addr, size_t bytes, const char *what)
{
    const int memory = memory_of(addr, bytes);
    if (memory == MEMORIES)
        host_fail("%s at 0x%08X, %zu bytes, is in no memory", what, addr, bytes);
    const uint64_t end = addr - memories[memory].base + bytes;
    if (*memories[memory].peak < end)
        *memories[memory].peak = end;
    if (__asan_region_is_poisoned(tdco_ptr(addr), bytes))
        host_fail("%s at 0x%08X, %zu bytes, leaves the planned buffers of this command", what, addr, bytes);
}

void host_memory_open(void)
{
    ASAN_UNPOISON_MEMORY_REGION(host_l1, sizeof host_l1);
    ASAN_UNPOISON_MEMORY_REGION(host_l2, sizeof host_l2);
    ASAN_UNPOISON_MEMORY_REGION(host_l3, host_l3_bytes);
}

void host_step_done(void)
{
    host_memory_open();
    now.program = NULL;
}

/* Bytes nobody wrote are NaN in every format. */
void host_memory_clear(void)
{
    memset(host_l1, 0xFF, sizeof host_l1);
    memset(host_l2, 0xFF, sizeof host_l2);
    for (uint32_t i = 0; i < tdco_prog.n_buffers; i++) {
        const tdco_buffer *buffer = &tdco_prog.buffers[i];
        const uint32_t end = buffer->addr - TDCO_L3_BASE + buffer->bytes;
        if (buffer->addr >= TDCO_L3_BASE && host_l3_bytes < end)
            host_l3_bytes = end;
    }
    memset(host_l3, 0xFF, host_l3_bytes);
}

/* The live buffer that holds `addr`, or NULL. */
static const tdco_buffer *buffer_of(uint32_t addr)
{
    for (uint32_t i = 0; i < now.program->n_buffers; i++) {
        const tdco_buffer *buffer = &now.program->buffers[i];
        if (addr - buffer->addr < buffer->bytes && buffer->first <= now.command && now.command <= buffer->last)
            return buffer;
    }
    return NULL;
}

static void open_buffer(uint32_t addr)
{
    const tdco_buffer *buffer = addr ? buffer_of(addr) : NULL;
    if (addr && !buffer)
        host_fail("address 0x%08X lies in no buffer that is live", addr);
    if (buffer) {
        ASAN_UNPOISON_MEMORY_REGION(tdco_ptr(buffer->addr), buffer->bytes);
        host_touch(buffer->addr, buffer->bytes, buffer->name);
    }
}

static void open_buffers(uint32_t kind, const tdco_when *entry)
{
    if (kind == TDCO_IN || kind == TDCO_OUT) {
        const tdco_copy *copy = (const tdco_copy *)entry;
        open_buffer(copy->l1);
        open_buffer(copy->l2);
    } else if (kind == TDCO_GEMM) {
        const tdco_job *job = (const tdco_job *)entry;
        open_buffer(job->x);
        open_buffer(job->w);
        open_buffer(job->flags & TDCO_JOB_Y ? job->y : 0);
        open_buffer(job->z);
    } else if (kind == TDCO_L3) {
        const tdco_move *move = (const tdco_move *)entry;
        open_buffer(move->l2);
        open_buffer(move->l3);
    } else {
        for (int i = 0; i < TDCO_MAX_PTRS; i++)
            open_buffer(((const tdco_call *)entry)->addr[i]);
    }
}

void tdco_port_begin(const tdco_program *program)
{
    now.program = program;
    now.steps++;
    now.command = 0;
    host_totals.step_flags = 0;
    memset(now.finished, 0, sizeof now.finished);
}

uint32_t tdco_port_poll(uint32_t finished[TDCO_KINDS])
{
    memcpy(finished, now.finished, sizeof now.finished);
    return (1u << TDCO_KINDS) - 1;
}

/* Commands run one after the other, in the order of their numbers. */
int tdco_port_stage(uint32_t kind, uint32_t index, tdco_when *when)
{
    const tdco_when *entry = tdco_entry(now.program, kind, index);
    if (entry->command != now.command)
        return 0;
    *when = *entry;
    now.staged = entry;
    return 1;
}

void tdco_port_sleep(void)
{
    host_fail("no queue has a command of this number that may start: its waits are not met");
}

static void copy(const tdco_copy *copy, int to_l1)
{
    for (uint32_t row = 0; row < copy->rows; row++) {
        const uint32_t l1 = copy->l1 + row * copy->row_bytes, l2 = copy->l2 + row * (uint32_t)copy->stride_bytes;
        host_touch(l1, copy->row_bytes, "copy, L1 side");
        host_touch(l2, copy->row_bytes, "copy, L2 side");
        if (to_l1)
            memcpy(tdco_ptr(l1), tdco_ptr(l2), copy->row_bytes);
        else
            memcpy(tdco_ptr(l2), tdco_ptr(l1), copy->row_bytes);
    }
    *(to_l1 ? &host_totals.l2_l1_bytes : &host_totals.l1_l2_bytes) += (uint64_t)copy->rows * copy->row_bytes;
}

static void move(const tdco_move *move)
{
    host_touch(move->l2, move->bytes, "move, L2 side");
    host_touch(move->l3, move->bytes, "move, L3 side");
    if (move->to_l2)
        memcpy(tdco_ptr(move->l2), tdco_ptr(move->l3), move->bytes);
    else
        memcpy(tdco_ptr(move->l3), tdco_ptr(move->l2), move->bytes);
    host_totals.l3_l2_bytes += move->bytes;
}

static void call(const tdco_call *call)
{
    tdco_args args = {.i = call->i, .f = call->f, .engine_finite = !(host_totals.step_flags & TDCO_FLAG_NONFINITE)};
    for (int i = 0; i < TDCO_MAX_PTRS; i++)
        args.p[i] = tdco_ptr(call->addr[i]);
    for (uint32_t core = 0; core < TDCO_CORES; core++)
        call->kernel(&args, core, TDCO_CORES);
    host_totals.kernel_calls++;
}

void tdco_port_start(uint32_t kind, uint32_t command)
{
    if (host_on_command)
        host_on_command(command);
    ASAN_POISON_MEMORY_REGION(host_l1, sizeof host_l1);
    ASAN_POISON_MEMORY_REGION(host_l2, sizeof host_l2);
    ASAN_POISON_MEMORY_REGION(host_l3, host_l3_bytes);
    if (SANITIZED || now.steps == 1) /* later steps touch the same */
        open_buffers(kind, now.staged);
    if (kind == TDCO_GEMM)
        host_engine_run((const tdco_job *)now.staged);
    else if (kind == TDCO_CALL)
        call((const tdco_call *)now.staged);
    else if (kind == TDCO_L3)
        move((const tdco_move *)now.staged);
    else
        copy((const tdco_copy *)now.staged, kind == TDCO_IN);
    now.finished[kind]++;
    now.command++;
}
