"""GVSoC's light RedMulE beside our engine: the same products in the same cluster, their cycles and their bits."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tdco_spec import HwConfig

from .. import golden
from ..engine import L1_BASE, Engine, job_words
from ..errors import MissingPlatform, SimError
from ..soc import firmware
from ..soc.elf import read_elf
from .install import Gvsoc
from .simulator import Simulator

MODEL = "gen_pulp_light_redmule_light_redmule_cpp_*.so"
OURS, LIGHT = range(2)
LIMIT_CYCLES = 5_000_000


@dataclass(frozen=True)
class Product:
    """Z = X . W + Z of ``shape`` (M, N, K) on our engine and on the light RedMulE: cycles from TRIGGER to the waiting
    core's next instruction, and results that are not golden's."""

    shape: tuple[int, int, int]
    ours: int
    light: int
    ours_mismatches: int
    light_mismatches: int


def find(gvsoc: Gvsoc) -> None:
    """Looks for the model in the installation.

    Raises:
        MissingPlatform: if it is not there.
    """
    if not list(gvsoc.models.glob(MODEL)):
        hint = "install a target of GVSoC that has it, such as magia"
        raise MissingPlatform(f"has no {MODEL}, the light RedMulE", str(gvsoc.models), hint)


def compare(
    gvsoc: Gvsoc, cfg: HwConfig, shapes: Sequence[tuple[int, int, int]], seed: int, converts: bool = False
) -> list[Product]:
    """Runs every shape on both engines in our GVSoC target, on random operands. With ``converts``, a core converts 1.5
    to an integer first, after which GVSoC rounds toward zero (docs/fidelity.md).

    Raises:
        MissingPlatform: if the installation lacks the light RedMulE.
        SimError: if a shape does not fit L1, or a run does not end as it should.
    """
    find(gvsoc)
    simulators = [Simulator(gvsoc, cfg), Simulator(gvsoc, cfg, light_redmule=True)]
    elf = read_elf(firmware.build([Path(__file__).parent / "light.c"], cfg))
    rng = np.random.default_rng(seed)
    products = []
    for m, n, k in shapes:
        where = f"shape {m}x{n}x{k}"
        bytes_ = 2 * (m * k + k * n + m * n)
        if bytes_ > cfg.l1_bytes - cfg.l1_reserved_bytes:
            raise SimError(f"{bytes_} bytes do not fit L1", where)
        operands = rng.uniform(-1, 1, bytes_ // 2).astype(np.float16)
        z, wanted = _golden(cfg, (m, n, k), operands)
        cycles, mismatches = [], []
        for which, simulator in zip((OURS, LIGHT), simulators, strict=True):
            l2 = struct.pack("<5I", which, m, n, k, converts) + operands.tobytes()
            run = simulator.run(elf.path, {"l2": l2}, LIMIT_CYCLES)
            if run.exit_code != 0:
                raise SimError(f"exit code {run.exit_code} after {run.cycles} cycles", where)
            cycles.append(run.read_words(elf.addresses["cycles"], 1)[0])
            got = np.frombuffer(run.read(z, wanted.nbytes), np.uint16)
            mismatches.append(int((got != wanted).sum()))
        products.append(Product((m, n, k), *cycles, *mismatches))
    return products


def _golden(cfg: HwConfig, shape: tuple[int, int, int], operands: np.ndarray) -> tuple[int, np.ndarray]:
    """Where light.c has Z, and its bits afterwards; ``operands``: X, W and Z."""
    m, n, k = shape
    l1 = np.zeros(cfg.l1_bytes, np.uint8)
    l1[cfg.l1_reserved_bytes :][: operands.nbytes] = operands.view(np.uint8)
    x = L1_BASE + cfg.l1_reserved_bytes
    w, z = x + 2 * m * k, x + 2 * (m * k + k * n)
    engine = Engine(golden.build(cfg), l1)
    strides = {"x": 2 * k, "w": 2 * n, "y": 2 * n, "z": 2 * n}
    engine.run(job_words(shape, {"x": x, "w": w, "y": z, "z": z}, strides, ["Y"]))
    engine.close()
    return z, l1[z - L1_BASE :][: 2 * m * n].view(np.uint16)


def markdown(products: Sequence[Product], cfg: HwConfig) -> list[str]:
    """The table for a page."""
    head = "| M x N x K | ideal | ours | light RedMulE | light / ours | mismatches: ours | light |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for p in products:
        m, n, k = p.shape
        ideal = m * n * k / (cfg.rows * cfg.cols)
        cells = f"{m}x{n}x{k} | {ideal:,.0f} | {p.ours:,} | {p.light:,} | {p.light / p.ours:.3f}"
        lines.append(f"| {cells} | {p.ours_mismatches} | {p.light_mismatches} |")
    return lines
