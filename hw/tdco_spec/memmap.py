"""Address map of the SoC, following GVSoC's pulp-open where it has the block."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Region:
    """An address range; ``size`` in bytes, 0 where ``HwConfig`` gives it."""

    name: str
    base: int
    size: int
    doc: str


MEMORY_MAP: dict[str, Region] = {
    r.name: r
    for r in (
        Region("l1", 0x1000_0000, 0, "TCDM, the cluster's shared scratchpad"),
        Region("engine", 0x1020_1000, 0x400, "GEMM engine registers"),
        Region("l2", 0x1C00_0000, 0, "on-chip L2"),
        Region("l3", 0x8000_0000, 0, "external memory, reached by its own DMA only"),
    )
}
