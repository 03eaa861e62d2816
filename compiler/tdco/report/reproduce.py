"""How to get the same figures again."""

from __future__ import annotations

from html import escape

from .load import Step
from .markup import facts
from .plot import Section


def section(step: Step) -> Section:
    rows = {
        "engine": step.run["engine_timing"],
        "configuration": f"{step.document['config']}, hash {step.document['config_hash']:08x}",
        "firmware (ELF), SHA-256": step.run["firmware_sha256"],
        "measured": step.run["when"],
        **({"trained": step.trained["when"]} if "when" in step.trained else {}),
        **step.run["versions"],
    }
    html = f"<p>These commands give the same bits and the same cycles.</p><pre>{escape(commands(step))}</pre>"
    return Section("reproduce", "How to reproduce", html + facts(rows))


def commands(step: Step) -> str:
    """As they were given; a comment where it was not on the command line."""
    train = step.document["train"]
    said = f"# compiled from Python: model {train['model']}, strategy {train['strategy']}, {step.document['config']}"
    lines = [step.compiled.get("command", said), step.run["command"]]
    if step.trained:
        lines.append(step.trained.get("command") or "# trained from Python, with the settings in train.json")
    return "\n".join((*lines, f"tdco report {step.out}"))
