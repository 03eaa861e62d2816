"""One kernel call at a time on the cluster: its results and its cycles."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tdco_spec import MEMORY_MAP, HwConfig

from ..errors import SimError
from .elf import read_elf
from .firmware import build_program, kernel_objects
from .program import MAX_INTS, MAX_PTRS, WHEN_LAYOUT
from .simulator import Simulator, describe

MAX_FLOATS = 4
LIMIT_CYCLES = 50_000_000
PROGRAM = """\
#include "tdco.h"
#include "tdco_hw.h"

#define FACTORS (TDCO_L1_BASE + TDCO_L1_SIZE - @ENGINE_BYTES@) /* two, then their product */

tdco_call kernel_call[@CALLS@]; /* the simulator's user fills it in */
static const tdco_job product[] = {{{0, 0, {0}}, FACTORS, FACTORS + 4, 0, FACTORS + 8, 2, 2, 0, 2, 1, 1, 1, 0}};
const tdco_program tdco_prog = {0, 0, product, kernel_call, 0, 0, {0, 0, 1, @CALLS@}, 0, TDCO_CONFIG_HASH};
"""
ENGINE_BYTES = 12
CALL_HEAD = (1, 0, 0, 1, 0, 0)  # command 1, once the first engine job has finished


class KernelRunner:
    """A cluster with every kernel of sw/kernels in its firmware, which calls one of them ``calls`` times in a row."""

    def __init__(self, cfg: HwConfig, calls: int = 1) -> None:
        with tempfile.TemporaryDirectory(prefix="tdco-") as folder:
            program = PROGRAM.replace("@ENGINE_BYTES@", str(ENGINE_BYTES)).replace("@CALLS@", str(calls))
            (Path(folder) / "program.c").write_text(program)
            self.elf = read_elf(build_program(Path(folder), cfg))
        self.cfg, self.calls = cfg, calls
        self.sim = Simulator(cfg, self.elf)
        self.sim.trace()
        self.base = MEMORY_MAP["l1"].base + cfg.l1_reserved_bytes
        self.room_bytes = cfg.l1_bytes - cfg.l1_reserved_bytes - ENGINE_BYTES

    @property
    def kernels(self) -> list[str]:
        """The symbols of every kernel: the global functions of sw/kernels."""
        objects = kernel_objects(self.cfg)
        return sorted(s.name for path in objects for s in read_elf(path).symbols if s.is_function and s.is_global)

    def close(self) -> None:
        self.sim.close()

    def run(
        self,
        symbol: str,
        memory: NDArray[np.uint8],
        offsets: Sequence[int | None],
        buffers: Sequence[tuple[int, int]],
        ints: Sequence[int] = (),
        floats: Sequence[float] = (),
        overflowed: bool = False,
    ) -> int:
        """Calls kernel ``symbol`` on ``memory``, the bytes of L1 behind the runtime's part, and updates it in place.

        ``offsets`` are its pointers into ``memory``, ``buffers`` the (offset, bytes) it may touch. ``overflowed``:
        the engine stored an infinity before. Returns the cycles of the last call from the first core's entry to the
        last one's return; the instruction cache is cold at the first call.

        Raises:
            SimError: if there is no such kernel, ``memory`` is too large, or the call stops with a fault.
        """
        if symbol not in self.elf.addresses:
            raise SimError("there is no such kernel", symbol)
        if len(memory) > self.room_bytes:
            raise SimError(f"{len(memory)} bytes of operands do not fit the {self.room_bytes} bytes of L1", symbol)
        kernel, sim = self.elf.addresses[symbol], self.sim
        pointers = [0 if at is None else self.base + at for at in offsets]
        call = struct.pack(
            f"<{WHEN_LAYOUT}I{MAX_PTRS}I{MAX_INTS}i{MAX_FLOATS}f",
            *(*CALL_HEAD, kernel, *pointers, *[0] * (MAX_PTRS - len(pointers))),
            *(*ints, *[0] * (MAX_INTS - len(ints))),
            *(*floats, *[0.0] * (MAX_FLOATS - len(floats))),
        )
        sim.watch_calls([(kernel, [(self.base + at, size, False) for at, size in buffers])] * self.calls)
        seen = len(sim.events)
        sim.start()
        sim.write(self.base, memory.tobytes())
        sim.write(self.base + self.room_bytes, struct.pack("<e2xe2x", *[65504.0 if overflowed else 1.0] * 2))
        sim.write(self.elf.addresses["kernel_call"], call * self.calls)
        stop = sim.run(LIMIT_CYCLES)
        if stop.exit_code != 0:
            raise SimError(describe(stop, self.elf, self.cfg.cores), symbol)
        memory[:] = np.frombuffer(sim.read(self.base, len(memory)), np.uint8)
        calls = [event for event in sim.events[seen:] if event.track < self.cfg.cores]
        spans = [event for event in calls if event.index == self.calls - 1]
        return max(span.end for span in spans) - min(span.start for span in spans)
