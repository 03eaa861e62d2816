"""docs/benchmarks.md and its pictures: what training steps cost, as ``tdco bench training`` measured it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..footprint import DYNAMIC, PERSISTENT, Life, over_time

PAGE = "benchmarks.md"
CYCLES_PLOT, MEMORY_PLOT, LIVES_PLOT = (f"pictures/{name}.svg" for name in ("cycles", "memory", "lifetimes"))
SECOND = "## Other models, optimizers and budgets"
"""The heading that parts what two runs of the command write."""
PUBLISHED = {
    "zoo:cct2": """
- Published for this model in fp32 (TrainDeeploy, arXiv 2603.09511): 32.7 Mcycle and 11 updates/s for FT-2 and LoRA-2,
  at most 4.6 FLOP/cycle, 3.5 times from the accelerator, 39,200 lines of C for FT-2, and 23 % less dynamic memory with
  LoRA. Here updates are made in place and gradients never stored whole, which leaves FT-2 no excess over LoRA-2: their
  dynamic peaks hardly differ, LoRA saves masters."""
}
"""What is known of others' steps, by model."""
COLOURS = ("#2b6cb0", "#dd6b20", "#38a169", "#805ad5", "#718096", "#d53f8c")


@dataclass(frozen=True)
class Column:
    """A column of the tables: title in print, key of the result, format."""

    title: str
    key: str
    form: str = ","


STEP = (
    Column("cycles", "cycles"),
    Column("updates/s", "updates_per_second", ",.0f"),
    Column("FLOP/cycle", "flop_per_cycle", ".1f"),
    Column("x floor", "times_floor", ".2f"),
    Column("modelled", "modelled_share", ".3f"),
    Column("update error", "max_rel_error", ".4f"),
)
PLACES = (
    Column("L1 peak", "l1_peak_bytes"),
    Column("L2 peak", "l2_peak_bytes"),
    Column("L2-L1 traffic", "l2_l1_bytes"),
    Column("L3 traffic", "l3_l2_bytes"),
    Column("C lines", "c_lines"),
    Column("C bytes", "c_bytes"),
)
CYCLES = (
    Column("strategy", "strategy", ""),
    *STEP,
    Column("engine floor", "engine_floor_cycles"),
    Column("engine busy", "busy_engine"),
    Column("cores busy", "busy_cores"),
    Column("DMA busy", "busy_dma"),
    Column("cores only", "cores_only_cycles"),
    Column("worth", "worth", ".1f"),
)
MEMORY = (
    Column("strategy", "strategy", ""),
    *(Column(category, f"{category}_bytes") for category in PERSISTENT),
    Column("dynamic peak", "dynamic_peak_bytes"),
    Column("bound", "dynamic_bound_bytes"),
    Column("total", "total_bytes"),
    *PLACES,
    Column("compile CPU s", "compile_seconds", ".1f"),
)
OTHERS = (
    Column("step", "case", ""),
    *STEP,
    Column("cycles per sample", "cycles_per_sample"),
    Column("total", "total_bytes"),
    *PLACES,
    Column("computed again", "recomputed_bytes"),
    Column("modelled for it", "recomputed_cycles"),
)


def cells(row: dict[str, Any], columns: tuple[Column, ...]) -> list[str]:
    """A row in print; what was not measured is a dash."""
    return [format(row[c.key], c.form) if row.get(c.key) is not None else "-" for c in columns]


def write_page(docs: Path, result: dict[str, Any], lives: dict[str, list[Life]], command: str) -> None:
    """``docs``/benchmarks.md and its pictures; ``lives`` by strategy."""
    rows = result["results"]
    (docs / "pictures").mkdir(exist_ok=True)
    _plot_cycles(docs / CYCLES_PLOT, rows)
    _plot_memory(docs / MEMORY_PLOT, {s: lives[s] for s in ("ft2", "lora2") if s in lives} or lives)
    drawn = "ft2" if "ft2" in lives else rows[-1]["strategy"]
    _plot_lives(docs / LIVES_PLOT, lives[drawn])
    compared, differ = (sum(row[key] for row in rows) for key in ("words_compared", "mismatches"))
    page = f"""# A training step of {result["model"]} on {result["config"]}

Written by `{command}`:
platform soc, engine {result["engine"]}, fp32 masters, plain SGD; from the controller's first instruction with L1 empty
to the last updated byte in L2. Every bit of outputs and state was compared
with platform host: {compared:,} words, {differ} differ.

- FLOP: 2 per MAC, GEMM and convolution only. Updates per second at 360 MHz.
- Engine floor: the engine's cycles if L1 held every operator whole, each product in its better orientation, and nothing
  else took time. Modelled: the compiler's own estimate, as a share of the measured cycles.
- Update error: how far the whole update (new - old) is from torch's in fp32 on the same input, relative L2; the median
  of three inputs.
- Cores only: the same step compiled with `--no-engine`, the same bits, with L1 as its cycle model (the RTL's cycles,
  sooner); worth: how much longer it takes. The cores' products alone run at 3.5 MAC a cycle and more on 8 cores, in
  every orientation (`pytest tests/ops/test_cores.py -k cluster -s`).{PUBLISHED.get(result["model"], "")}

{_markdown(rows, CYCLES)}

![cycles by strategy]({CYCLES_PLOT})

Bytes. Dynamic: activations, gradients and temporaries in L1 and L2 together, what lies in both counted twice; bound:
every tensor once. Total: what persists and the dynamic peak. L1 and L2 peaks and traffic are counted by the simulator;
peaks reach no further and traffic is no other than planned. Compile: CPU seconds of a new process from an ONNX file to
all files written, without firmware.

{_markdown(rows, MEMORY)}

![memory over time]({MEMORY_PLOT})

What lies where in L2 during a step of {drawn}, from the first command to the last:

![lifetimes]({LIVES_PLOT})

"""
    _, known, others = _written(docs).partition(SECOND)
    (docs / PAGE).write_text(page + known + others)


def _written(docs: Path) -> str:
    """The page as it is."""
    return (docs / PAGE).read_text() if (docs / PAGE).exists() else ""


def write_others(docs: Path, result: dict[str, Any], command: str) -> None:
    """The second part of ``docs``/benchmarks.md: the steps of ``result["others"]``."""
    rows, config = result["others"], result["config"]
    done = [row for row in rows if not row["error"]]
    compared, differ = (sum(row[key] for row in done) for key in ("words_compared", "mismatches"))
    failed = "".join(f"\n- `{row['case']}` does not run: {row['error']}" for row in rows if row["error"])
    section = f"""{SECOND}
Written by `{command}`:
engine model (the same timing as the RTL's, sooner); each is `tdco compile STEP -c {config} -o OUT` and
`tdco run OUT --platform soc --engine model`. Every bit of outputs and state was compared with platform host:
{compared:,} words, {differ} differ. Total: what persists, in L2 or L3, and the dynamic peak. With `--l2-bytes` the
firmware has the end of that L2 and tensors the rest; computed again: bytes not kept at the peak, and the modelled
cycles that this costs. Deep-AE at batch 1 is bound by the DMA: a step reads 8 bytes a weight over 8 bytes a cycle (fp16
forward and backward, and the fp32 master), which takes 264 kcycle, 132 kcycle without masters.

Update error is as above, but weights are fresh here except CCT-2's, and inputs noise: rounding decides for some ReLUs,
of which MobileNet has 27 in a row, and a first step of AdamW moves a weight by its gradient's sign. In exact arithmetic
the same steps are torch's (`pytest tests/unit/test_zoo_models.py tests/unit/test_optimizer.py`).

{_markdown(done, OTHERS)}
{failed}"""
    (docs / PAGE).write_text(_written(docs).partition(SECOND)[0].rstrip() + "\n\n" + section)


def _markdown(rows: list[dict[str, Any]], columns: tuple[Column, ...]) -> str:
    lines = [[c.title for c in columns], ["---" + ":" * bool(c.form) for c in columns]]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *(cells(row, columns) for row in rows)])


def _plot_cycles(file: Path, rows: list[dict[str, Any]]) -> None:
    """Bars: cycles by strategy, with the engine and on the cores alone."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    kinds = [("engine, cores and DMA", "cycles", "#2b6cb0"), ("cores only", "cores_only_cycles", "#a0aec0")]
    kinds = [kind for kind in kinds if rows[0][kind[1]] is not None]
    for n, (label, key, colour) in enumerate(kinds):
        at = [i + 0.4 * n for i in range(len(rows))]
        bars = axes.bar(at, [r[key] / 1e6 for r in rows], 0.38, label=label, color=colour)
        axes.bar_label(bars, [f"{r[key] / 1e6:.2f}" for r in rows], fontsize=7)
    floor = [r["engine_floor_cycles"] / 1e6 for r in rows]
    axes.hlines(floor, [i - 0.19 for i in range(len(rows))], [i + 0.19 for i in range(len(rows))],
                colors="black", linewidth=1, label="engine floor")  # fmt: skip
    axes.set_xticks([i + 0.2 * (len(kinds) - 1) for i in range(len(rows))], [r["strategy"] for r in rows])
    axes.set_ylabel("Mcycle per step")
    axes.legend(frameon=False, fontsize=8)
    _save(figure, file)


def _plot_memory(file: Path, lives: dict[str, list[Life]]) -> None:
    """Steps: bytes of what comes and goes, over the commands of a step as a share of all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.subplots()
    for (strategy, found), colour in zip(lives.items(), COLOURS, strict=False):
        steps = over_time(life for life in found if life.category in DYNAMIC and life.level != "l3")
        end = max(life.last for life in found) + 1
        axes.step([100 * at / end for at, _ in steps], [n / 1024 for _, n in steps], where="post",
                  label=strategy, color=colour, linewidth=1)  # fmt: skip
    axes.set_xlabel("% of the step's commands")
    axes.set_ylabel("dynamic KB in L1 and L2")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    _save(figure, file)


def _plot_lives(file: Path, lives: list[Life]) -> None:
    """Boxes: the addresses that every buffer has in L2, and for how long."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    end = max(life.last for life in lives) + 1
    for category, colour in zip((*PERSISTENT, *DYNAMIC), COLOURS, strict=True):
        found = [life for life in lives if life.level == "l2" and life.category == category]
        for life in found:
            span = 100 * life.first / end, 100 * (life.last + 1 - life.first) / end
            axes.add_patch(Rectangle((span[0], life.offset / 1024), span[1], life.bytes / 1024,
                                     facecolor=colour, edgecolor="white", linewidth=0.2))  # fmt: skip
        if found:
            axes.plot([], [], color=colour, linewidth=6, label=category)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, max(life.offset + life.bytes for life in lives if life.level == "l2") / 1024)
    axes.set_xlabel("% of the step's commands")
    axes.set_ylabel("address in L2, KB")
    figure.legend(loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    _save(figure, file)


def _save(figure: Any, file: Path) -> None:
    """Without date or random ids, so that equal figures are equal files."""
    import matplotlib as mpl

    for side in ("top", "right"):
        figure.axes[0].spines[side].set_visible(False)
    with mpl.rc_context({"svg.hashsalt": "tdco", "svg.fonttype": "none"}):
        figure.savefig(file, metadata={"Date": None})
