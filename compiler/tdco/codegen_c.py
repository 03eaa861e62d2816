"""Schedule and memory plan -> program.c: constant tables in the format of tdco.h, and nothing else."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from math import isfinite

import numpy as np
from tdco_spec import JOB_FLAGS, HwConfig

from .errors import TdcoError
from .ir import Graph
from .program import Command, Copy, GemmJob, KernelCall, MemoryPlan, Ref, Schedule
from .schedule import KINDS

KIND_NAMES = ("TDCO_COPY", "TDCO_GEMM", "TDCO_CALL")
MAX_PTRS, MAX_INTS, MAX_FLOATS = 8, 12, 4
"""TDCO_MAX_* of tdco.h."""
MAX_COMMANDS = 65_535
"""Commands are numbered in 16 bits."""
LINE_COLUMNS = 120


def generate_c(graph: Graph, schedule: Schedule, plan: MemoryPlan, cfg: HwConfig) -> str:
    """The text of program.c. The same arguments give the same bytes.

    Raises:
        TdcoError: the program has more commands than the format can number.
    """
    if len(schedule.commands) > MAX_COMMANDS:
        raise TdcoError(
            f"the step takes {len(schedule.commands)} commands, a program holds {MAX_COMMANDS}",
            graph.name,
            "a configuration with more l1_bytes cuts the work into fewer tiles",
        )
    writer = _Writer(graph, schedule, plan)
    symbols = sorted({c.op.symbol for c in schedule.commands if isinstance(c.op, KernelCall)})
    lines = [
        f"/* {graph.name} for {cfg.name}: generated, do not edit. The format is explained in tdco.h. */",
        '#include "tdco.h"',
        '#include "tdco_hw.h"',
        "",
        f'_Static_assert(TDCO_CONFIG_HASH == 0x{cfg.hash:08X}u, "tdco_hw.h is not of {cfg.name}");',
        "",
        "#define L1(offset) (TDCO_L1_BASE + (offset))",
        "#define L2(offset) (TDCO_L2_BASE + (offset))",
        "",
        *(f"tdco_kernel {symbol};" for symbol in symbols),
        "",
        *writer.table(Copy, "static const tdco_copy copies[]", "l1, l2, row_bytes, rows, stride_bytes, to_l1"),
        *writer.table(
            GemmJob,
            "static const tdco_job jobs[]",
            "x, w, y, z, x_stride, w_stride, y_stride, z_stride, m, n, k, flags",
        ),
        *writer.table(KernelCall, "static const tdco_call calls[]", "kernel, addr, i, f"),
        *writer.commands(),
        *writer.buffers(),
        *writer.program(),
    ]
    return "\n".join(lines) + "\n"


def waits(schedule: Schedule) -> list[tuple[int, ...]]:
    """Per command, how many of each kind must have finished before it starts: what ``after`` says, as counts.

    Waits on the own kind are left to the kind's order and, between jobs, to the AFTER flag.
    """
    counts = [0] * len(KINDS)
    ordinals: list[tuple[int, int]] = []
    result = []
    for command in schedule.commands:
        kind = KINDS[type(command.op)]
        wait = [0] * len(KINDS)
        for j in command.after:
            other, ordinal = ordinals[j]
            if other != kind:
                wait[other] = max(wait[other], ordinal + 1)
        result.append(tuple(wait))
        ordinals.append((kind, counts[kind]))
        counts[kind] += 1
    return result


def job_flags(command: Command, commands: Sequence[Command]) -> int:
    """The TDCO_JOB_* bits of a GEMM command."""
    job = command.op
    assert isinstance(job, GemmJob)
    flags = {
        "TRANS_X": job.trans_x,
        "TRANS_W": job.trans_w,
        "TRANS_Z": job.trans_z,
        "Y": job.y is not None,
        "Y_COLUMN": job.y_column,
        "RELU": job.relu,
        "AFTER": any(isinstance(commands[j].op, GemmJob) for j in command.after),
    }
    return sum(JOB_FLAGS[name] for name, on in flags.items() if on)


class _Writer:
    def __init__(self, graph: Graph, schedule: Schedule, plan: MemoryPlan) -> None:
        self.graph, self.commands_, self.plan, self.schedule = graph, schedule.commands, plan, schedule

    def address(self, ref: Ref | None) -> str:
        if ref is None:
            return "0"
        place = self.plan.placements[ref.buffer]
        return f"{place.buffer.level.upper()}(0x{place.offset + ref.offset:X})"

    def table(self, kind: type, head: str, fields: str) -> Iterator[str]:
        """One line per command of ``kind``, under a comment line per node."""
        rows = {Copy: self.copy, GemmJob: self.job, KernelCall: self.call}[kind]
        yield f"{head} = {{ /* {fields} */"
        yield from self.by_node([c for c in self.commands_ if isinstance(c.op, kind)], rows)
        yield "};"
        yield ""

    def by_node(self, commands: Sequence[Command], row: Callable[[Command], str]) -> Iterator[str]:
        """One entry per command; a comment marks where a node begins, though the one before it may go on a little."""
        node = -1
        for command in commands:
            if command.node > node:
                node = command.node
                text = f"{node} {self.graph.nodes[node].op} {self.graph.source(self.graph.nodes[node])}"
                yield f"    /* {text.replace('*/', '* /')[:110]} */"
            yield _line(row(command))
        if not commands:
            yield "    {0}, /* none; C has no empty arrays */"

    def copy(self, command: Command) -> str:
        op = command.op
        assert isinstance(op, Copy)
        return (
            f"{{{self.address(op.l1)}, {self.address(op.l2)}, {op.row_bytes}, {op.rows}, {op.stride_bytes}, "
            f"{int(op.to_l1)}}}"
        )

    def job(self, command: Command) -> str:
        op = command.op
        assert isinstance(op, GemmJob)
        refs = ", ".join(self.address(ref) for ref in (op.x, op.w, op.y, op.z))
        strides = f"{op.x_stride}, {op.w_stride}, {op.y_stride}, {op.z_stride}"
        return f"{{{refs}, {strides}, {op.m}, {op.n}, {op.k}, 0x{job_flags(command, self.commands_):02X}}}"

    def call(self, command: Command) -> str:
        op = command.op
        assert isinstance(op, KernelCall)
        assert len(op.refs) <= MAX_PTRS and len(op.ints) <= MAX_INTS and len(op.floats) <= MAX_FLOATS, op
        refs = ", ".join(map(self.address, op.refs)) or "0"
        ints = ", ".join(map(str, op.ints)) or "0"
        floats = ", ".join(map(_float, op.floats)) or "0"
        return f"{{{op.symbol}, {{{refs}}}, {{{ints}}}, {{{floats}}}}}"

    def commands(self) -> Iterator[str]:
        """The commands in issue order: kind, index into its table, waits on copies, jobs and calls."""
        counts = [0] * len(KINDS)
        rows: dict[int, str] = {}
        for command, wait in zip(self.commands_, waits(self.schedule), strict=True):
            kind = KINDS[type(command.op)]
            rows[id(command)] = f"{{{KIND_NAMES[kind]}, {counts[kind]}, {{{', '.join(map(str, wait))}}}}}"
            counts[kind] += 1
        yield "static const tdco_command commands[] = { /* kind, index, wait */"
        yield from self.by_node(self.commands_, lambda command: rows[id(command)])
        yield "};"
        yield ""

    def buffers(self) -> Iterator[str]:
        yield "static const tdco_buffer buffers[] = { /* addr, bytes, first, last, name */"
        for place in sorted(self.plan.placements.values(), key=lambda p: (p.buffer.level, p.first, p.offset)):
            buffer = place.buffer
            span = f"{buffer.bytes}, {place.first}, {place.last}"
            yield _line(f"{{{self.address(Ref(buffer.name))}, {span}, {_string(buffer.name)}}}")
        yield "};"
        yield ""

    def program(self) -> Iterator[str]:
        kinds = [type(c.op) for c in self.commands_]
        yield "const tdco_program tdco_prog = {"
        yield "    commands, copies, jobs, calls, buffers,"
        yield f"    {len(kinds)}, {kinds.count(Copy)}, {kinds.count(GemmJob)}, {kinds.count(KernelCall)},"
        yield f"    {len(self.plan.placements)}, TDCO_CONFIG_HASH,"
        yield "};"


def _line(entry: str) -> str:
    """A table entry, on more than one line if it is too long for one."""
    return "\n".join(
        textwrap.wrap(
            f"{entry},", LINE_COLUMNS, initial_indent="    ", subsequent_indent="        ", break_long_words=False
        )
    )


def _float(value: float) -> str:
    """A C literal of exactly the fp32 value."""
    single = float(np.float32(value))
    assert isfinite(single), f"{value} is not a finite fp32 number"
    text = f"{single:.9g}"
    return text + ("f" if set(".e") & set(text) else ".0f")


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
