"""Prints where a step's cycles went."""

from __future__ import annotations

from typing import Any

from ._console import table

_KERNEL = ("calls", "elements", "cycles", "fetch", "l1_wait", "idle")
_NODE = ("critical", "waiting", "engine", "engine_stall", "cores", "fetch", "dma")


def show_profile(profile: dict[str, Any]) -> None:
    """Tables of ``tdco_sim.soc.profile``: the critical path, kernels, graph nodes; the costly ones first."""
    total = profile["cycles"]
    path = sorted(profile["critical_path"].items(), key=lambda part: -part[1])
    table(
        "what the step waited for (critical path)",
        ("", "cycles", "share"),
        [(name, cycles, f"{cycles / total:.1%}") for name, cycles in path] + [("step", total, "")],
    )
    kernels = sorted(profile["kernels"].items(), key=lambda kernel: -kernel[1]["cycles"])
    rows = [(name.removeprefix("tdco_"), *(values[c] for c in _KERNEL)) for name, values in kernels]
    table("kernels: cycles of all cores together", ("kernel", *_KERNEL), rows)
    nodes = sorted(profile["nodes"].items(), key=lambda node: -(node[1]["critical"] + node[1]["waiting"]))
    table("graph nodes", ("node", *_NODE), [(name, *(values[c] for c in _NODE)) for name, values in nodes])
