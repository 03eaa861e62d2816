"""The hardware as a block diagram, drawn from its configuration."""

from __future__ import annotations

from html import escape
from math import ceil, sqrt

from tdco_spec import HwConfig

from .load import Step
from .markup import facts, label, line, rect
from .plot import COLOURS, Section, size

WIDTH, HEIGHT = 404, 538
FACTS = (
    ("array", "{c.rows} rows of {c.cols} multiply-adders, {c.pipe} pipeline registers each"),
    ("tile of Z", "{c.rows} x {c.tile_cols}, accumulated in {c.acc}"),
    ("engine's port", "{c.port_words} words of L1 a cycle"),
    ("engine's queue", "{c.queue_jobs} jobs"),
    ("cores", "{c.cores} workers and a controller, RV32IMC with Zfinx and Zhinx"),
    ("instruction caches", "{c.icache_l0_bytes:,} B a core, {c.icache_l1_bytes:,} B shared"),
    ("L1", "{c.l1_banks} banks of a word, no port waits longer than {c.l1_wait_cycles} cycles"),
    ("DMA", "{c.dma_bytes_per_cycle} B a cycle each way, {c.dma_startup_cycles} cycles to start"),
    ("L2", "{c.l2_latency_cycles} cycles for a core's load"),
    ("L3", "{c.l3_cycles_per_byte} cycles a byte, {c.l3_startup_cycles} to start"),
    ("clock", "{mhz:.0f} MHz"),
)


def section(step: Step) -> Section:
    values = {name: text.format(c=step.hw, mhz=step.hw.clock_hz / 1e6) for name, text in FACTS}
    html = (
        f"<p>Configuration <code>{escape(step.hw.name)}</code>, hash <code>{step.document['config_hash']:08x}</code>; "
        f'beside the arrows, what one step moves.</p><div class="hardware">{diagram(step)}{facts(values)}</div>'
    )
    return Section("hardware", "The hardware", html)


def diagram(step: Step) -> str:
    """An SVG; text and lines take the page's colours, blocks those of their resources."""
    hw, steps = step.hw, step.run["steps"]
    moved = {name: n // steps for name, n in step.run["dma_bytes"].items()}
    parts = [
        _box(20, 16, 400, 46, "l3", "L3", f"{size(hw.l3_bytes)}, off chip"),
        _arrow(220, 62, 96, "l3", f"L3 DMA {size(moved.get('l3_l2', 0))}", both=True),
        _box(20, 96, 400, 46, "control", "L2", f"{size(hw.l2_bytes)}, peak {size(step.run['l2_peak_bytes'])}"),
        _arrow(120, 142, 196, "dma", f"DMA {size(moved['l2_l1'])}"),
        _arrow(320, 196, 142, "dma", f"DMA {size(moved['l1_l2'])}"),
        _box(20, 196, 400, 62, "control", "L1", f"{size(hw.l1_bytes)}, peak {size(step.run['l1_peak_bytes'])}"),
        _banks(hw, 30, 236, 380),
        _box(20, 280, 400, 34, "control", "interconnect", f"{hw.l1_ports} ports of a word, and the engine's"),
        *(_arrow(x, 258, 280, "control", "", both=True) for x in (120, 320)),
        _arrow(120, 314, 336, "engine", f"{4 * hw.port_words} B", both=True),
        _arrow(320, 314, 336, "cores", f"{4 * (hw.cores + 1)} B", both=True),
        _box(20, 336, 196, 214, "engine", "GEMM engine", f"{hw.fmas} multiply-adders"),
        _array(hw, 32, 388, 172, 150),
        _box(232, 336, 188, 150, "cores", "cores", f"{hw.cores} workers"),
        _cores(hw, 244, 388, 164),
        _box(232, 500, 188, 50, "control", "controller", "event unit, barriers"),
    ]
    title = f"Block diagram of {hw.name}: L3, L2, L1, interconnect, GEMM engine, {hw.cores} cores, controller"
    head = f'<svg viewBox="18 14 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" class="diagram">'
    return f"{head}{''.join(parts)}</svg>"


def _box(x: int, y: int, width: int, height: int, kind: str, name: str, more: str) -> str:
    """A block with its name; what more there is to say stands at the right of a wide block, else below."""
    colour = COLOURS[kind][1]
    place = f'x="{x}" y="{y}" width="{width}" height="{height}" rx="6"'
    said = label(x + width - 12, y + 22, more, anchor="end") if width > 300 else label(x + 12, y + 39, more)
    frame = f'<rect {place} fill="{colour}" fill-opacity="0.13" stroke="{colour}" stroke-width="1.3"/>'
    return frame + label(x + 12, y + 22, name, "name") + said


def _arrow(x: int, y0: int, y1: int, kind: str, text: str, both: bool = False) -> str:
    """A vertical line with heads; ``text`` beside it."""
    colour, way = COLOURS[kind][1], 1 if y1 > y0 else -1
    heads = [(y1, way)] + ([(y0, -way)] if both else [])
    sides = [line(x + side, y - 6 * d, x, y, colour, 1.6) for y, d in heads for side in (-4, 4)]
    return line(x, y0, x, y1, colour, 1.6) + "".join(sides) + label(x + 9, (y0 + y1) / 2 + 4, text)


def _banks(hw: HwConfig, x: int, y: int, width: int) -> str:
    step, colour = width / hw.l1_banks, COLOURS["control"][1]
    return "".join(rect(x + i * step + 1, y, step - 2, 14, colour, opacity=0.35) for i in range(hw.l1_banks))


def _array(hw: HwConfig, x: int, y: int, width: int, height: int) -> str:
    """The multiply-adders, row by row; a line for each of their pipeline registers."""
    dx, dy, colour = width / hw.cols, height / hw.rows, COLOURS["engine"][1]
    cells = []
    for row in range(hw.rows):
        for col in range(hw.cols):
            left, top = x + col * dx + 1, y + row * dy + 1
            cells.append(rect(left, top, dx - 2, dy - 2, colour))
            registers = [left + (dx - 2) * (n + 1) / (hw.pipe + 1) for n in range(hw.pipe)]
            cells += [line(at, top, at, top + dy - 2, colour) for at in registers]
    return "".join(cells)


def _cores(hw: HwConfig, x: int, y: int, width: int) -> str:
    """Workers in rows of four or, where they are more than twelve, in a square."""
    columns = max(4, ceil(sqrt(hw.cores)))
    step, colour = width / columns, COLOURS["cores"][1]
    cells = []
    for core in range(hw.cores):
        left, top = x + core % columns * step + 2, y + core // columns * step + 2
        cells.append(rect(left, top, step - 4, step - 4, colour, 3))
        cells.append(label(left + step / 2 - 2, top + step / 2 + 2, str(core), anchor="middle"))
    return "".join(cells)
