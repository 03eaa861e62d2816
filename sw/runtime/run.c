/* Issues a program's commands: the head of each queue as soon as what it waits for has finished. The port does the
 * work. */
#include "port.h"
#include "tdco.h"

enum { NOTHING = TDCO_KINDS };

typedef struct {
    uint32_t n, issued;         /* commands in all, and started */
    uint32_t blocked_by, count; /* the staged command waits for so many of that queue; NOTHING: none is staged */
    uint32_t listed;            /* it waits for more queues, as when.wait says */
    tdco_when when;             /* of the staged command */
} queue;

/* Starts the staged command if what it waits for has finished. */
static int try_start(queue *q, uint32_t kind, const uint32_t *finished)
{
    if (finished[q->blocked_by] < q->count)
        return 0;
    for (uint32_t other = 0; q->listed && other < TDCO_KINDS; other++)
        if (finished[other] < q->when.wait[other]) {
            q->blocked_by = other;
            q->count = q->when.wait[other];
            return 0;
        }
    if (q->issued >= finished[kind] + tdco_port_room(kind)) {
        q->blocked_by = kind;
        q->count = q->issued + 1 - tdco_port_room(kind);
        return 0;
    }
    q->blocked_by = NOTHING;
    q->issued++;
    tdco_port_start(kind, q->when.command);
    return 1;
}

/* Stages the next command of one of the queues `empty` (a bit each) and returns the queue; NOTHING: not now. */
static uint32_t stage_one(queue *queues, uint32_t empty)
{
    for (uint32_t kind = TDCO_KINDS; empty && kind-- > 0;) {
        queue *const q = &queues[kind];
        if (!(empty >> kind & 1) || !tdco_port_stage(kind, q->issued, &q->when))
            continue;
        q->listed = !q->when.only;
        q->blocked_by = q->listed ? 0 : (uint32_t)(q->when.only >> TDCO_ONLY_SHIFT) - 1;
        q->count = q->when.only & ((1u << TDCO_ONLY_SHIFT) - 1);
        return kind;
    }
    return NOTHING;
}

void tdco_run(const tdco_program *program)
{
    queue queues[TDCO_KINDS];
    uint32_t finished[TDCO_KINDS] = {0};
    uint32_t left = 0, empty;   /* queues with commands to start, a bit each; those of them with none staged */
    uint32_t blocking = 0;      /* queues that staged commands wait for */

    for (uint32_t kind = 0; kind < TDCO_KINDS; kind++) {
        queues[kind] = (queue){.n = program->n[kind], .blocked_by = NOTHING};
        if (queues[kind].n)
            left |= 1u << kind;
    }
    empty = left;
    tdco_port_begin(program);
    while (left) {
        const uint32_t advanced = tdco_port_poll(finished) & blocking;
        if (advanced) {
            blocking = 0;
            for (uint32_t kind = 0; kind < TDCO_KINDS; kind++) {
                queue *const q = &queues[kind];
                if (advanced >> q->blocked_by & 1 && try_start(q, kind, finished))
                    *(q->issued < q->n ? &empty : &left) ^= 1u << kind;
                blocking |= 1u << q->blocked_by;
            }
        }
        /* One at a time: staging reads a table in L2, and what could start should not wait for more than one. */
        const uint32_t kind = stage_one(queues, empty);
        if (kind != NOTHING) {
            queue *const q = &queues[kind];
            empty ^= 1u << kind;
            if (try_start(q, kind, finished))
                *(q->issued < q->n ? &empty : &left) ^= 1u << kind;
            blocking |= 1u << q->blocked_by;
        } else if (left) {
            tdco_port_sleep();
        }
    }
    for (uint32_t kind = 0; kind < TDCO_KINDS; kind++)
        while (finished[kind] < queues[kind].n)
            if (!tdco_port_poll(finished))
                tdco_port_sleep();
}
