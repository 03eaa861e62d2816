"""Coverage of a campaign of GEMM jobs: the bins, the combinations of bins that are possible, and those that were hit.

A legal job is one bin in each of seven dimensions. Coverage is read as the crosses of up to four of them: every
combination of a bin of one, of each of two, three and four dimensions. The product of all seven has 368,640 cells, 18
for each job of the longest campaign, so it says nothing about that campaign and is not counted. Illegal jobs are bins
of their own: the rule they break.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import combinations, product

from tdco_sim.rtl.stress import STALLS, JobRun
from tdco_spec import HwConfig

from .jobs import RULES, TRANS_W, TRANS_X, TRANS_Z, Y_COLUMN, Job

SIZES = ("1", "<tile", "=tile", "tile+1", "multiple", "other")
TRANSPOSES = tuple("".join(letters) or "-" for letters in product(*(("", letter) for letter in "xwz")))
Y_MODES = ("none", "own", "in place", "row", "column")
"""No Y; one of its own; Y is where Z goes; one stored line for all; one element for each stored line."""
QUEUED = ("alone", "queued")
"""Whether other jobs were in the queue when it was triggered."""

IMPOSSIBLE = [({"Y": "none", "stall": "y"}, "a job without Y makes no request for Y that could be refused")]
"""Combinations that cannot happen, and why."""
ORDERS = (1, 2, 3, 4)
"""How many dimensions are crossed."""


def dimensions(cfg: HwConfig) -> dict[str, tuple[str, ...]]:
    """All bins of each dimension. M and N count in tiles of ``cfg``; K is taken modulo a line.

    stall: why requests of the job were refused ("none": they were not): at random, in bursts, for 1,000 cycles, or
    because those of one operand were starved.
    """
    residues = tuple(map(str, range(cfg.tile_cols)))
    bins = {"M": SIZES, "N": SIZES, "K mod line": residues, "transposed": TRANSPOSES}
    return {**bins, "Y": Y_MODES, "stall": STALLS, "queued": QUEUED}


def bins_of(cfg: HwConfig, job: Job, run: JobRun, stall: str) -> dict[str, str]:
    """The bin of a legal job in each dimension. ``stall``: the pattern that ran, which need not have hit this job."""
    m, n, k = job.shape
    transposed = "".join(
        letter for letter, bit in zip("xwz", (TRANS_X, TRANS_W, TRANS_Z), strict=True) if job.flags & bit
    )
    hit = run.refused[stall] if stall in run.refused else sum(run.refused.values())
    return {
        "M": size_bin(m, cfg.rows),
        "N": size_bin(n, cfg.tile_cols),
        "K mod line": str(k % cfg.tile_cols),
        "transposed": transposed or "-",
        "Y": y_bin(job),
        "stall": stall if hit else "none",
        "queued": "queued" if run.queued else "alone",
    }


def size_bin(size: int, tile: int) -> str:
    if size == 1:
        return "1"
    if size <= tile:
        return "=tile" if size == tile else "<tile"
    if size == tile + 1:
        return "tile+1"
    return "other" if size % tile else "multiple"


def y_bin(job: Job) -> str:
    if job.y is None:
        return "none"
    if job.flags & Y_COLUMN:
        return "column"
    if job.registers["Y_STRIDE"] == 0:
        return "row"
    return "in place" if job.registers["Y_ADDR"] == job.registers["Z_ADDR"] else "own"


def possible(combination: dict[str, str]) -> bool:
    return not any(rule.items() <= combination.items() for rule, _ in IMPOSSIBLE)


@dataclass
class Coverage:
    """Counts of combinations of up to four dimensions, and of the rules that illegal jobs broke."""

    cfg: HwConfig
    hits: Counter[tuple[tuple[str, str], ...]] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(RULES, 0)))

    def add(self, bins: dict[str, str]) -> None:
        assert possible(bins), f"{bins} was held to be impossible"
        for order in ORDERS:
            self.hits.update(combinations(bins.items(), order))

    def table(self, order: int) -> tuple[int, list[tuple[tuple[str, str], ...]]]:
        """(possible combinations of ``order`` dimensions, those that were not hit)."""
        total, missed = 0, []
        for chosen in combinations(dimensions(self.cfg).items(), order):
            names = [name for name, _ in chosen]
            for values in product(*(bins for _, bins in chosen)):
                combination = tuple(zip(names, values, strict=True))
                if possible(dict(combination)):
                    total += 1
                    if combination not in self.hits:
                        missed.append(combination)
        return total, missed

    def share(self, order: int) -> float:
        """Part of the possible combinations of ``order`` dimensions that was hit."""
        total, missed = self.table(order)
        return 1 - len(missed) / total
