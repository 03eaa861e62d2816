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
        Region("icache", 0x1020_1400, 0x400, "instruction cache control"),
        Region("event_unit", 0x1020_4000, 0x400, "event unit, each core's own view"),
        Region("dma", 0x1020_4400, 0x400, "DMA between L2 and L1"),
        Region("l3_dma", 0x1020_6000, 0x400, "DMA between L3 and L2"),
        Region("soc_control", 0x1A10_4000, 0x1000, "exit"),
        Region("stdout", 0x1A10_F000, 0x1000, "a stored byte is printed"),
        Region("l2", 0x1C00_0000, 0, "on-chip L2"),
        Region("l3", 0x8000_0000, 0, "external memory, reached by its own DMA only"),
    )
}
