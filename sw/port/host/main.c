/* The program on the host: feeds it a step at a time, and writes down what came out. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "host.h"
#include "port.h"
#include "tdco_hw.h"

static const char USAGE[] =
    "usage: step --engine E.so [--check G.so] --l2-in FILE --l3-in FILE [--in ADDR:BYTES]...\n"
    "            [--out ADDR:BYTES]... --inputs FILE --outputs FILE --l2-out FILE --l3-out FILE --steps N --stats FILE\n"
    "            [--progress]\n"
    "Runs N steps. Before each, the next bytes of --inputs go to the --in ranges; after it, the --out ranges are\n"
    "appended to --outputs. --progress prints `done total`, in commands, now and then.\n";

typedef struct {
    uint32_t addr;
    size_t bytes;
} range;

enum { MAX_RANGES = 64 };

typedef struct {
    const char *engine, *check, *l2_in, *l3_in, *inputs, *outputs, *l2_out, *l3_out, *stats;
    uint32_t steps;
    bool progress;
    range in[MAX_RANGES], out[MAX_RANGES];
    int n_in, n_out;
} options;

static struct {
    uint64_t before_step, total;
    double shown_at;
} progress;

static uint32_t commands(void)
{
    uint32_t total = 0;
    for (int kind = 0; kind < TDCO_KINDS; kind++)
        total += tdco_prog.n[kind];
    return total;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void show_progress(uint32_t done)
{
    const double now = seconds();
    if (now - progress.shown_at < 0.2)
        return;
    progress.shown_at = now;
    printf("%" PRIu64 " %" PRIu64 "\n", progress.before_step + done, progress.total);
    fflush(stdout);
}

static range parse_range(const char *text)
{
    char *colon, *end;
    const range parsed = {(uint32_t)strtoul(text, &colon, 0), *colon == ':' ? strtoul(colon + 1, &end, 0) : 0};
    if (*colon != ':' || *end)
        host_fail("%s is not ADDR:BYTES", text);
    return parsed;
}

static options parse(int argc, char **argv)
{
    options o = {.steps = 1};
    const struct {
        const char *name, **value;
    } texts[] = {{"--engine", &o.engine}, {"--check", &o.check}, {"--l2-in", &o.l2_in}, {"--l3-in", &o.l3_in},
        {"--inputs", &o.inputs}, {"--outputs", &o.outputs}, {"--l2-out", &o.l2_out}, {"--l3-out", &o.l3_out},
        {"--stats", &o.stats}};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--progress") == 0) {
            o.progress = true;
            continue;
        }
        if (++i == argc)
            host_fail("%s needs a value\n%s", name, USAGE);
        bool known = true;
        if (strcmp(name, "--steps") == 0)
            o.steps = (uint32_t)strtoul(argv[i], NULL, 0);
        else if (strcmp(name, "--in") == 0 && o.n_in < MAX_RANGES)
            o.in[o.n_in++] = parse_range(argv[i]);
        else if (strcmp(name, "--out") == 0 && o.n_out < MAX_RANGES)
            o.out[o.n_out++] = parse_range(argv[i]);
        else
            known = false;
        for (size_t t = 0; t < sizeof texts / sizeof *texts; t++)
            if (strcmp(name, texts[t].name) == 0) {
                *texts[t].value = argv[i];
                known = true;
            }
        if (!known)
            host_fail("unknown option, or too many: %s\n%s", name, USAGE);
    }
    if (!o.engine || !o.l2_in || !o.l3_in || !o.inputs || !o.outputs || !o.l2_out || !o.l3_out || !o.stats)
        host_fail("an option is missing\n%s", USAGE);
    return o;
}

static FILE *open_file(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    if (!file)
        host_fail("cannot open %s", path);
    return file;
}

static void close_file(FILE *file, const char *path)
{
    if (ferror(file) || fclose(file) != 0)
        host_fail("cannot read or write %s", path);
}

static void read_image(const char *path, uint8_t *memory, uint32_t bytes)
{
    FILE *file = open_file(path, "rb");
    fread(memory, 1, bytes, file);
    if (fgetc(file) != EOF)
        host_fail("%s is larger than its memory, %u bytes", path, bytes);
    close_file(file, path);
}

static void write_image(const char *path, const uint8_t *memory, uint32_t bytes)
{
    FILE *file = open_file(path, "wb");
    fwrite(memory, 1, bytes, file);
    close_file(file, path);
}

static void write_stats(const options *o, double elapsed)
{
    const host_stats *s = &host_totals;
    FILE *file = open_file(o->stats, "w");
    fprintf(file, "{\"steps\": %" PRIu32 ", \"seconds\": %.6f, ", o->steps, elapsed);
    fprintf(file, "\"jobs\": %" PRIu64 ", \"macs\": %" PRIu64 ", \"cycles\": %" PRIu64 ", \"busy\": %" PRIu64 ", ", s->jobs,
        s->macs, s->cycles, s->busy);
    fprintf(file, "\"words_compared\": %" PRIu64 ", \"mismatches\": %" PRIu64 ", \"status_flags\": %" PRIu64 ", ",
        s->words_compared, s->mismatches, s->status_flags);
    fprintf(file, "\"kernel_calls\": %" PRIu64 ", \"dma_bytes\": {\"l2_l1\": %" PRIu64 ", \"l1_l2\": %" PRIu64 ", \"l3_l2\": %" PRIu64
        "}, ", s->kernel_calls, s->l2_l1_bytes, s->l1_l2_bytes, s->l3_l2_bytes);
    fprintf(file, "\"l1_peak_bytes\": %" PRIu64 ", \"l2_peak_bytes\": %" PRIu64 ", \"l3_peak_bytes\": %" PRIu64 "}\n",
        s->l1_peak_bytes, s->l2_peak_bytes, s->l3_peak_bytes);
    close_file(file, o->stats);
}

static void step(const options *o, FILE *inputs, FILE *outputs)
{
    for (int i = 0; i < o->n_in; i++)
        if (fread(tdco_ptr(o->in[i].addr), 1, o->in[i].bytes, inputs) != o->in[i].bytes)
            host_fail("%s ends before step %" PRIu64, o->inputs, progress.before_step / commands());
    tdco_run(&tdco_prog);
    host_step_done();
    for (int i = 0; i < o->n_out; i++)
        fwrite(tdco_ptr(o->out[i].addr), 1, o->out[i].bytes, outputs);
}

int main(int argc, char **argv)
{
    const options o = parse(argc, argv);
    if (tdco_prog.config_hash != TDCO_CONFIG_HASH)
        host_fail("the program is for configuration 0x%08X, the runtime for 0x%08X", tdco_prog.config_hash, TDCO_CONFIG_HASH);
    host_memory_clear();
    read_image(o.l2_in, host_l2, TDCO_L2_SIZE);
    read_image(o.l3_in, host_l3, TDCO_L3_SIZE);
    host_engine_open(o.engine, o.check);
    FILE *inputs = open_file(o.inputs, "rb"), *outputs = open_file(o.outputs, "wb");
    if (o.progress)
        host_on_command = show_progress;
    progress.total = (uint64_t)o.steps * commands();
    const double start = seconds();
    for (uint32_t i = 0; i < o.steps; i++) {
        step(&o, inputs, outputs);
        progress.before_step += commands();
    }
    const double elapsed = seconds() - start;
    host_engine_close();
    close_file(inputs, o.inputs);
    close_file(outputs, o.outputs);
    write_image(o.l2_out, host_l2, TDCO_L2_SIZE);
    write_image(o.l3_out, host_l3, host_l3_bytes);
    write_stats(&o, elapsed);
    return 0;
}
