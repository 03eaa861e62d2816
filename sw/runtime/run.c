/* Issues a program's commands: the head of each queue as soon as what it waits for has finished. The port does the work. */
#include "port.h"
#include "tdco.h"

void tdco_run(const tdco_program *program)
{
    uint32_t issued[TDCO_KINDS] = {0}, finished[TDCO_KINDS] = {0}, n[TDCO_KINDS], left = 0;
    tdco_when head[TDCO_KINDS]; /* of the staged command */
    uint32_t staged = 0;        /* a bit per queue */
    uint32_t next = 0;          /* the queue staged last */
    uint32_t kinds = TDCO_L3; /* without the last queue, unless it is used: most programs have no moves */

    for (uint32_t kind = 0; kind < TDCO_KINDS; kind++)
        left += n[kind] = program->n[kind];
    if (n[TDCO_L3])
        kinds = TDCO_KINDS;
    tdco_port_begin(program);
    while (left) {
        uint32_t started = 0, prepared = 0;
        tdco_port_poll(finished);
        for (uint32_t kind = 0; kind < kinds; kind++) {
            if (!(staged >> kind & 1) || finished[TDCO_IN] < head[kind].wait[TDCO_IN]
                || finished[TDCO_OUT] < head[kind].wait[TDCO_OUT] || finished[TDCO_GEMM] < head[kind].wait[TDCO_GEMM]
                || finished[TDCO_CALL] < head[kind].wait[TDCO_CALL] || finished[TDCO_L3] < head[kind].wait[TDCO_L3])
                continue;
            tdco_port_start(kind, head[kind].command);
            staged &= ~(1u << kind);
            issued[kind]++;
            started++;
        }
        left -= started;
        /* One at a time: staging reads a table in L2, and what could start should not wait for more than one. */
        for (uint32_t turn = 0; turn < kinds && !prepared; turn++) {
            next = next + 1 < kinds ? next + 1 : 0;
            if (!(staged >> next & 1) && issued[next] < n[next] && tdco_port_stage(next, issued[next], &head[next])) {
                staged |= 1u << next;
                prepared = 1;
            }
        }
        if (!started && !prepared)
            tdco_port_sleep();
    }
    for (tdco_port_poll(finished);; tdco_port_poll(finished)) {
        uint32_t running = 0;
        for (uint32_t kind = 0; kind < TDCO_KINDS; kind++)
            running += n[kind] - finished[kind];
        if (!running)
            return;
        tdco_port_sleep();
    }
}
