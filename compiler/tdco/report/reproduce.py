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
        **step.run["versions"],
    }
    html = f"<p>These commands give the same bits and the same cycles.</p><pre>{escape(commands(step))}</pre>"
    return Section("reproduce", "How to reproduce", html + facts(rows))


def commands(step: Step) -> str:
    """As they were given; a comment where the compiler was not called from the command line."""
    train = step.document["train"]
    said = f"# compiled from Python: model {train['model']}, strategy {train['strategy']}, {step.document['config']}"
    return f"{step.compiled.get('command', said)}\n{step.run['command']}\ntdco report {step.out}"
