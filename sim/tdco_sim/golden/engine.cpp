// The engine's arithmetic, bit for bit, without its timing: the reference every other engine is compared with.
#include <memory>
#include <vector>

#include "block.hpp"
#include "engine.h"
#include "job.hpp"

using namespace tdco;

struct tdco_engine {
    uint8_t *l1;
    uint32_t l1_base, l1_bytes;
    tdco_engine_stats stats;
    std::string error;
};

namespace {

uint16_t load(const tdco_engine &engine, int64_t addr)
{
    uint16_t half;
    std::memcpy(&half, engine.l1 + (addr - engine.l1_base), sizeof half);
    return half;
}

// The whole of a legal job that lies inside L1; everything is read before anything is written.
uint32_t run(tdco_engine &engine, const Job &job)
{
    const auto orient = [&](const Operand &o, uint32_t flag) { return job.has(flag) ? o.transposed() : o; };
    const Operand x = orient(job.x, TDCO_JOB_TRANS_X), w = orient(job.w, TDCO_JOB_TRANS_W);
    const Operand y = orient(job.y, TDCO_JOB_TRANS_Z), z = orient(job.z, TDCO_JOB_TRANS_Z);
    const uint32_t blocks_m = (job.m + ROWS - 1) / ROWS, blocks_n = (job.n + COLS - 1) / COLS;

    std::vector<Stored> xs(size_t(blocks_m) * ROWS * job.k), ws(size_t(blocks_n) * COLS * job.k);
    const auto at = [&](const Operand &o, uint32_t i, uint32_t j) { return engine.l1 + (o.at(i, j) - engine.l1_base); };
    for (uint32_t i = 0; i < job.m; i++)
        load_line(at(x, i, 0), x.col_step, job.k, &xs[size_t(i) * job.k]);
    for (uint32_t k = 0; k < job.k; k++)
        for (uint32_t j = 0; j < job.n; j += COLS)
            load_line(at(w, k, j), w.col_step, std::min(COLS, job.n - j), &ws[(size_t(j / COLS) * job.k + k) * COLS]);

    uint32_t flags = 0;
    std::vector<uint16_t> result(size_t(job.m) * job.n);
    for (uint32_t bn = 0; bn < blocks_n; bn++) {
        const Stored *w_block = &ws[size_t(bn) * COLS * job.k];
        for (uint32_t bm = 0; bm < blocks_m; bm++) {
            const Stored *x_block = &xs[size_t(bm) * ROWS * job.k];
            const uint32_t rows = std::min(ROWS, job.m - bm * ROWS), cols = std::min(COLS, job.n - bn * COLS);
            const auto start = [&](uint32_t i, uint32_t j) {
                return job.has(TDCO_JOB_Y) ? Exact(from_half(load(engine, y.at(bm * ROWS + i, bn * COLS + j)))) : Exact(0);
            };
            Block block = {};
            if (job.has(TDCO_JOB_Y))
                for (uint32_t i = 0; i < rows; i++)
                    load_line(at(y, bm * ROWS + i, bn * COLS), y.col_step, cols, block.sums[i]);
            multiply(block, x_block, w_block, job.k);
            for (uint32_t i = 0; i < rows; i++)
                for (uint32_t j = 0; j < cols; j++) {
                    uint16_t half;
                    if (block.finite) {
                        half = finished(block.sums[i][j], flags);
                    } else { // rare: once more, with infinities and flags
                        Exact sum = start(i, j);
                        for (uint32_t k = 0; k < job.k; k++)
                            sum = mac<Exact>(sum, x_block[size_t(i) * job.k + k], w_block[size_t(k) * COLS + j], flags);
                        half = to_half(round_flagged(sum, flags));
                    }
                    if (job.has(TDCO_JOB_RELU) && (half & 0x8000))
                        half = 0;
                    if ((half & 0x7C00) == 0x7C00)
                        flags |= TDCO_FLAG_NONFINITE;
                    result[size_t(bm * ROWS + i) * job.n + bn * COLS + j] = half;
                }
        }
    }
    for (uint32_t i = 0; i < job.m; i++)
        for (uint32_t j = 0; j < job.n; j++)
            std::memcpy(engine.l1 + (z.at(i, j) - engine.l1_base), &result[size_t(i) * job.n + j], sizeof(uint16_t));
    engine.stats.macs += uint64_t(job.m) * job.n * job.k;
    return flags;
}

} // namespace

extern "C" {

tdco_engine *tdco_engine_open(uint8_t *l1, uint32_t l1_base, uint32_t l1_bytes)
{
    return new tdco_engine{l1, l1_base, l1_bytes, {}, {}};
}

int tdco_engine_run(tdco_engine *engine, const uint32_t *words)
{
    const Job job(words);
    if (!job.illegal) {
        engine->error = job.outside(engine->l1_base, engine->l1_bytes);
        if (!engine->error.empty())
            return -1;
    }
    engine->stats.jobs++;
    return job.illegal ? TDCO_FLAG_ILLEGAL : int(run(*engine, job));
}

const char *tdco_engine_error(const tdco_engine *engine) { return engine->error.c_str(); }
void tdco_engine_get_stats(const tdco_engine *engine, tdco_engine_stats *stats) { *stats = engine->stats; }
uint32_t tdco_engine_id(const tdco_engine *) { return TDCO_CONFIG_HASH; }
void tdco_engine_close(tdco_engine *engine) { delete engine; }

// z[i] = a[i] * b[i] + c[i] in binary16, and the STATUS_FLAGS bits it raised.
void tdco_golden_fma(const uint16_t *a, const uint16_t *b, const uint16_t *c, uint16_t *z, uint8_t *flags, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t raised = 0;
        z[i] = to_half(mac(from_half(c[i]), from_half(a[i]), from_half(b[i]), raised));
        flags[i] = uint8_t(raised);
    }
}

// The same with c and z in binary32.
void tdco_golden_fma_f32(
    const uint16_t *a, const uint16_t *b, const uint32_t *c, uint32_t *z, uint8_t *flags, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t raised = 0;
        const float sum = mac(bit_cast<float>(c[i]), float(from_half(a[i])), float(from_half(b[i])), raised);
        z[i] = std::isnan(sum) ? 0x7FC00000 : bit_cast<uint32_t>(sum);
        flags[i] = uint8_t(raised);
    }
}
}
