/* Issues a program's commands in order, each once what it waits for has finished. The port does the work. */
#include "port.h"
#include "tdco.h"

static void start(const tdco_program *program, const tdco_command *command)
{
    switch (command->kind) {
    case TDCO_COPY:
        tdco_port_copy(&program->copies[command->index]);
        break;
    case TDCO_GEMM:
        tdco_port_gemm(&program->jobs[command->index]);
        break;
    default:
        tdco_port_call(&program->calls[command->index]);
    }
}

void tdco_run(const tdco_program *program)
{
    tdco_port_begin(program);
    for (uint32_t i = 0; i < program->n_commands; i++) {
        const tdco_command *command = &program->commands[i];
        for (uint32_t kind = 0; kind < TDCO_KINDS; kind++)
            tdco_port_wait(kind, command->wait[kind]);
        tdco_port_command(program, i);
        start(program, command);
    }
    tdco_port_wait(TDCO_COPY, program->n_copies);
    tdco_port_wait(TDCO_GEMM, program->n_jobs);
    tdco_port_wait(TDCO_CALL, program->n_calls);
}
