"""How near every GEMM and kernel comes to what engine, cores and memories can do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import ceil, sqrt

from .load import Step
from .plot import COLOURS, Plot, Section, count, figure

FLOP_PER_FMA = 2
WORD_BYTES = 4


@dataclass(frozen=True)
class Point:
    """``flop`` and ``bytes`` in ``cycles``."""

    name: str
    flop: int
    bytes: int
    cycles: int

    @property
    def intensity(self) -> float:
        return self.flop / self.bytes

    @property
    def rate(self) -> float:
        return self.flop / self.cycles


def section(step: Step) -> Section:
    hw = step.hw
    html = (
        f"<p>FLOP a cycle over FLOP per byte. Engine: at most {FLOP_PER_FMA * hw.fmas} FLOP a cycle and a line of "
        f"{line_bytes(step)} bytes of L1; its bytes are what its array streams, X once for every tile of N, W once for "
        f"every tile of M, and Z. Cores: at most {FLOP_PER_FMA * hw.cores} FLOP a cycle, a multiply-add each, and a "
        "word of L1 each; their FLOP and bytes are what the simulator counted as they ran. The whole step: over the "
        "bytes between L2 and L1.</p>"
    )
    return Section("roofline", "Roofline", html, [_plot(step)])


def line_bytes(step: Step) -> int:
    return 2 * step.hw.tile_cols


def gemm_points(step: Step) -> list[Point]:
    """The engine's jobs, by graph node."""
    hw = step.hw
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in step.slices:
        if one.track == "engine":
            m, n, k = (one.arguments[key] for key in "MNK")
            moved = 2 * (m * k * ceil(n / hw.tile_cols) + k * n * ceil(m / hw.rows) + m * n)
            for i, value in enumerate((2 * m * n * k, moved, one.end - one.start)):
                sums[one.node][i] += value
    return [
        Point(f"{step.node(node).layer} {step.node(node).op}, {step.node(node).phase}", *values)
        for node, values in sums.items()
    ]


def kernel_points(step: Step) -> list[Point]:
    """The kernels that compute in floating point, all calls of one together."""
    kernels = step.profile["kernels"].items()
    return [
        Point(name.removeprefix("tdco_"), k["flop"], k["l1_bytes"], k["cycles"])
        for name, k in kernels
        if k["flop"] and k["l1_bytes"] and k["cycles"]
    ]


def step_point(step: Step) -> Point:
    """The step over what moved between L2 and L1."""
    moved, steps = step.run["dma_bytes"], step.run["steps"]
    return Point("whole step", step.document["stats"]["flop"], (moved["l2_l1"] + moved["l1_l2"]) // steps, step.cycles)


def _plot(step: Step) -> Plot:
    hw = step.hw
    groups = {"engine": gemm_points(step), "cores": kernel_points(step), "dma": [step_point(step)]}
    groups = {kind: [p for p in points if p.flop and p.bytes] for kind, points in groups.items()}
    every = [p for points in groups.values() for p in points]
    low, high = min((p.intensity for p in every), default=0.1) / 2, max((p.intensity for p in every), default=10) * 2
    roofs = {
        "engine": (FLOP_PER_FMA * hw.fmas, line_bytes(step), "engine on L1"),
        "cores": (FLOP_PER_FMA * hw.cores, WORD_BYTES * hw.cores, "cores on L1"),
        "dma": (FLOP_PER_FMA * (hw.fmas + hw.cores), 2 * hw.dma_bytes_per_cycle, "engine and cores on L2"),
    }
    plot = figure(440, hovermode="closest")
    for kind, (peak, bandwidth, name) in roofs.items():
        ridge = peak / bandwidth
        xs = [low, *([ridge] if low < ridge < high else []), high]
        plot.add_scatter(
            x=xs,
            y=[min(peak, bandwidth * x) for x in xs],
            mode="lines",
            name=f"{name}: {peak} FLOP, {bandwidth} B a cycle",
            line={
                "color": COLOURS[kind][1],
                "width": 2 if kind != "dma" else 1.5,
                "dash": "solid" if kind != "dma" else "dot",
            },
            hoverinfo="skip",
        )
    marks = {"engine": ("circle", "GEMM nodes"), "cores": ("diamond", "kernels"), "dma": ("star", "whole step")}
    for kind, points in groups.items():
        if points:
            largest = max(p.cycles for p in points)
            plot.add_scatter(
                x=[p.intensity for p in points],
                y=[p.rate for p in points],
                mode="markers",
                name=marks[kind][1],
                marker={
                    "color": COLOURS[kind][1],
                    "symbol": marks[kind][0],
                    "opacity": 0.75,
                    "line": {"width": 0.5, "color": "white"},
                    "size": [16 if kind == "dma" else 6 + 12 * sqrt(p.cycles / largest) for p in points],
                },
                text=[
                    f"<b>{p.name}</b><br>{p.rate:.1f} FLOP a cycle, {p.intensity:.2f} FLOP per byte<br>"
                    f"{count(p.cycles)} cycles"
                    for p in points
                ],
                hovertemplate="%{text}<extra></extra>",
            )
    plot.update_xaxes(type="log", title_text="FLOP per byte", dtick=1)
    plot.update_yaxes(type="log", title_text="FLOP per cycle", dtick=1)
    without = [n.removeprefix("tdco_") for n, k in step.profile["kernels"].items() if not k["flop"]]
    caption = "Areas grow with cycles." + (
        f" No floating-point work, so not shown: {', '.join(without)}." if without else ""
    )
    return Plot("roofline", plot, caption)
