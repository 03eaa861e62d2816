/* Inside the host port: memories and plan checks (memory.c), engines (engine.cpp), and the program around them (main.c). */
#ifndef TDCO_HOST_H
#define TDCO_HOST_H

#include <stddef.h>
#include <stdint.h>

#include "tdco.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Totals of a run. The peaks are one past the highest byte touched by a copy, a job, or a kernel's buffer. */
typedef struct {
    uint64_t jobs, macs, cycles, busy;    /* from the engine */
    uint64_t words_compared, mismatches;  /* against the checking engine; a job whose flags differ is a mismatch too */
    uint64_t status_flags, step_flags;    /* every STATUS_FLAGS bit some job raised: ever, and since the step began */
    uint64_t kernel_calls, l2_l1_bytes, l1_l2_bytes, l3_l2_bytes, l1_peak_bytes, l2_peak_bytes, l3_peak_bytes;
} host_stats;

extern host_stats host_totals;
extern uint8_t host_l1[];
extern uint8_t host_l2[];
extern uint8_t host_l3[];
extern uint32_t host_l3_bytes; /* of L3, from its start, that the program has plans for */

/* One clear line on stderr, exit status 1. */
void host_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

void host_memory_clear(void);
void host_memory_open(void); /* everything may be accessed, until the next command */
void host_step_done(void);
/* Notes [addr, addr + bytes) for the peaks; fails if it lies in no memory or, with AddressSanitizer, outside the
 * buffers of the current command. */
void host_touch(uint32_t addr, size_t bytes, const char *what);

/* Called before every command; done counts the earlier ones of this run. */
extern void (*host_on_command)(uint32_t done);

void host_engine_open(const char *path, const char *check_path);
void host_engine_run(const tdco_job *job);
void host_engine_close(void);

#ifdef __cplusplus
}
#endif
#endif
