"""Random queues through lockstep.cpp: the Verilated engine and the cycle model, compared in every cycle."""

import ctypes
from collections import Counter
from pathlib import Path

import numpy as np
import tdco_sim.rtl
from tdco.cli._engines import engine_verilog
from tdco_sim.build import cached, compile_objects, linker, run_tool
from tdco_sim.engine import job_words
from tdco_sim.verilator import verilate, wrapper_flags
from tdco_spec import JOB_FLAGS, HwConfig
from tdco_spec.emit import c_header

SIM = Path(tdco_sim.rtl.__file__).parents[1]
PATTERNS = ("always", "random", "bursts", "blocks")
MEMORY_BYTES = 1 << 16
MOST_JOBS = 7


def build(cfg: HwConfig) -> Path:
    """The shared library of lockstep.cpp for ``cfg``."""
    verilated, include = verilate(engine_verilog(cfg), "redmule")
    flags = [*wrapper_flags(verilated, include, False), "-ffp-contract=off", "-Wno-psabi"]
    sources = [Path(__file__).with_name("lockstep.cpp"), SIM / "model" / "model.cpp"]
    includes = [SIM, SIM / "golden", SIM / "model"]
    objects = compile_objects("lockstep", sources, flags, includes, {"tdco_hw.h": c_header(cfg)})

    def make(directory: Path) -> None:
        libraries: list[str | Path] = [verilated / "libVredmule.a", verilated / "libverilated.a", "-lpthread"]
        run_tool([linker(), "-shared", *objects, *libraries, "-o", directory / "lockstep.so"], "lockstep")

    return cached("lockstep", ["link", str(verilated), *map(str, objects)], make) / "lockstep.so"


def random_memory(rng: np.random.Generator) -> np.ndarray:
    """Small numbers, with some of everything binary16 has in between."""
    halves = rng.normal(size=MEMORY_BYTES // 2).astype(np.float16).view(np.uint16)
    odd = rng.random(halves.size) < rng.choice([0.0, 0.002, 0.05])
    return np.where(odd, rng.integers(0, 1 << 16, halves.size), halves).astype(np.uint16).view(np.uint8)


def random_size(rng: np.random.Generator, tile: int) -> int:
    """1 to 70, often 1, a tile, one more or less, or a few of them."""
    edges = [1, 1, tile - 1, tile, tile, tile + 1, 2 * tile, 2 * tile + 1, 3 * tile - 1, 4 * tile]
    size = rng.choice(edges) if rng.random() < 0.5 else rng.integers(1, 71 if rng.random() < 0.3 else 2 * tile + 2)
    return int(np.clip(size, 1, 70))


def random_job(rng: np.random.Generator, cfg: HwConfig) -> list[int]:
    """Any job at all: operands anywhere, overlapping as they like; a few are illegal."""
    shape = (random_size(rng, cfg.rows), random_size(rng, cfg.tile_cols), random_size(rng, cfg.tile_cols))
    flags = [name for name in JOB_FLAGS if rng.random() < (0.2 if name == "AFTER" else 0.5)]
    strides = {o: 2 * int(rng.choice([0, 1, 16, 17, 70, int(rng.integers(-100, 100))])) for o in "xwyz"}
    addrs = {o: 2 * int(rng.integers(1 << 15)) for o in "xwyz"}
    words = job_words(shape, addrs, strides, flags)
    if rng.random() < 0.03:
        words[rng.integers(8)] ^= 1
    if rng.random() < 0.02:
        words[8] &= 0xFFFF << 16 * int(rng.integers(2))
    return words


def run(cfg: HwConfig, queues: int, seed: int) -> Counter[str]:
    """Runs random queues and returns how many jobs, cycles and grants there were; fails at the first difference."""
    library = ctypes.CDLL(str(build(cfg)))
    library.lockstep_open.restype = ctypes.c_void_p
    library.lockstep_run.restype = ctypes.c_char_p
    done: Counter[str] = Counter()
    for queue in range(queues):
        rng = np.random.default_rng((seed, queue))
        memory = random_memory(rng)
        both = ctypes.c_void_p(library.lockstep_open(memory.ctypes.data_as(ctypes.c_char_p), memory.size))
        jobs = [random_job(rng, cfg) for _ in range(rng.integers(1, MOST_JOBS + 1))]
        words = (ctypes.c_uint32 * sum(map(len, jobs)))(*(word for job in jobs for word in job))
        pattern, report = int(rng.integers(len(PATTERNS))), (ctypes.c_uint64 * 2)()
        disturbance = ctypes.c_double(rng.choice([0.0, 0.0, 0.2]))
        said = library.lockstep_run(
            both, words, len(jobs), pattern, disturbance, ctypes.c_uint32(int(rng.integers(1 << 32))), report
        )
        assert not said, f"seed {seed}, queue {queue}, grants {PATTERNS[pattern]}, jobs {jobs}: {said.decode()}"
        library.lockstep_close(both)
        done += Counter(jobs=len(jobs), cycles=report[0], granted=report[1], **{PATTERNS[pattern]: 1})
    return done
