// Engine jobs: handed to a shared library that exports engine.h and, if asked, to a second one that must agree.
#include "engine.h"

#include <cstdio>
#include <cstring>
#include <dlfcn.h>

#include "host.h"
#include "job.hpp"

extern "C" {
#include "port.h"
}

namespace {

struct Library {
    const char *path = nullptr;
    uint8_t *l1 = nullptr;
    tdco_engine *engine = nullptr;
    decltype(&tdco_engine_open) open;
    decltype(&tdco_engine_run) run;
    decltype(&tdco_engine_error) error;
    decltype(&tdco_engine_get_stats) get_stats;
    decltype(&tdco_engine_id) id;
    decltype(&tdco_engine_close) close;

    template <typename Function> void find(void *library, Function &function, const char *name)
    {
        function = reinterpret_cast<Function>(dlsym(library, name));
        if (!function)
            host_fail("%s: not an engine, it exports no %s", path, name);
    }

    void load(const char *from, uint8_t *memory)
    {
        path = from;
        l1 = memory;
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!library)
            host_fail("%s", dlerror());
        find(library, open, "tdco_engine_open");
        find(library, run, "tdco_engine_run");
        find(library, error, "tdco_engine_error");
        find(library, get_stats, "tdco_engine_get_stats");
        find(library, id, "tdco_engine_id");
        find(library, close, "tdco_engine_close");
        engine = open(l1, TDCO_L1_BASE, TDCO_L1_SIZE);
        if (!engine)
            host_fail("%s: the engine did not start", path);
        if (id(engine) != TDCO_CONFIG_HASH)
            host_fail("%s is an engine of configuration 0x%08X; the program is for " TDCO_CONFIG_NAME ", 0x%08X", path,
                id(engine), TDCO_CONFIG_HASH);
    }

    uint32_t launch(const uint32_t *words)
    {
        const int flags = run(engine, words);
        if (flags < 0)
            host_fail("%s: %s", path, error(engine));
        return uint32_t(flags);
    }
};

constexpr uint64_t SHOWN_MISMATCHES = 5;
Library engine, check;
uint8_t check_l1[TDCO_L1_SIZE] __attribute__((aligned(64)));

void touch(const tdco::Operand &o)
{
    for (uint32_t row = 0; row < o.rows; row++)
        host_touch(uint32_t(o.at(row, 0)), size_t(o.col_step) * (o.cols - 1) + 2, o.name);
}

// The whole of L1 must be the same afterwards: Z, and everything that is not Z.
void compare(const tdco::Job &job, uint32_t flags, uint32_t check_flags)
{
    host_totals.words_compared += uint64_t(job.m) * job.n;
    if (flags != check_flags && host_totals.mismatches++ < SHOWN_MISMATCHES)
        std::fprintf(stderr, "job %s: flags 0x%X, expected 0x%X\n", job.describe().c_str(), flags, check_flags);
    if (std::memcmp(host_l1, check_l1, sizeof check_l1) == 0)
        return;
    for (uint32_t offset = 0; offset < TDCO_L1_SIZE; offset += 2) {
        uint16_t got, expected;
        std::memcpy(&got, host_l1 + offset, sizeof got);
        std::memcpy(&expected, check_l1 + offset, sizeof expected);
        if (got != expected && host_totals.mismatches++ < SHOWN_MISMATCHES)
            std::fprintf(stderr, "job %s: 0x%04X at 0x%08X, expected 0x%04X\n", job.describe().c_str(), got,
                TDCO_L1_BASE + offset, expected);
    }
}

} // namespace

extern "C" {

void host_engine_open(const char *path, const char *check_path)
{
    engine.load(path, host_l1);
    if (check_path)
        check.load(check_path, check_l1);
}

void host_engine_close(void)
{
    tdco_engine_stats stats;
    engine.get_stats(engine.engine, &stats);
    host_totals.jobs = stats.jobs;
    host_totals.macs = stats.macs;
    host_totals.cycles = stats.cycles;
    host_totals.busy = stats.busy;
    engine.close(engine.engine);
    if (check.engine)
        check.close(check.engine);
}

void host_engine_run(const tdco_job *j)
{
    const uint32_t k_flags = j->k | uint32_t(j->flags & ~TDCO_JOB_LIKE_LAST) << 16;
    const uint32_t words[TDCO_JOB_WORDS] = {j->x, j->w, j->y, j->z, uint32_t(j->x_stride), uint32_t(j->w_stride),
        uint32_t(j->y_stride), uint32_t(j->z_stride), j->m | uint32_t(j->n) << 16, k_flags};
    const tdco::Job job(words);
    if (job.illegal)
        host_fail("illegal job %s", job.describe().c_str());
    touch(job.x);
    touch(job.w);
    if (job.has(TDCO_JOB_Y))
        touch(job.y);
    touch(job.z);
    host_memory_open();
    if (check.engine)
        std::memcpy(check_l1, host_l1, sizeof check_l1);
    const uint32_t flags = engine.launch(words);
    host_totals.status_flags |= flags;
    host_totals.step_flags |= flags;
    if (check.engine)
        compare(job, flags, check.launch(words));
}
}
