/* The C interface of an engine behind a host program: golden and rtl both export these symbols from a shared library. */
#ifndef TDCO_ENGINE_H
#define TDCO_ENGINE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tdco_engine tdco_engine;

typedef struct {
    uint64_t jobs;       /* finished */
    uint64_t macs;       /* on matrix elements, padding excluded; counted by the engine itself */
    uint64_t cycles;     /* TRIGGER to event, summed over jobs; 0 for golden */
    uint64_t busy;       /* the engine's own CYCLES_BUSY; 0 for golden */
} tdco_engine_stats;

/* `words` are the JOB_REGISTERS of tdco_spec.regs, in their order. Addresses are device addresses; `l1` holds the bytes
 * of [l1_base, l1_base + l1_bytes). */
tdco_engine *tdco_engine_open(uint8_t *l1, uint32_t l1_base, uint32_t l1_bytes);
/* Runs a job to its end; the returned value is the STATUS_FLAGS it raised, or -1: an access outside L1 or a hang, and
 * tdco_engine_error() says which. */
int tdco_engine_run(tdco_engine *engine, const uint32_t *words);
const char *tdco_engine_error(const tdco_engine *engine);
void tdco_engine_get_stats(const tdco_engine *engine, tdco_engine_stats *stats);
uint32_t tdco_engine_id(const tdco_engine *engine); /* the ID register: HwConfig.hash */
void tdco_engine_close(tdco_engine *engine);

#ifdef __cplusplus
}
#endif
#endif
