"""Verilog of the engine."""

import re

from amaranth.back import verilog
from amaranth.lib import wiring

from tdco_spec import HwConfig

from .top import Engine


def emit(cfg: HwConfig) -> str:
    """The engine of ``cfg`` as Verilog; the top module is ``redmule``. The same configuration gives the same text."""
    return convert(Engine(cfg), "redmule")


def convert(component: wiring.Component, name: str) -> str:
    """``component`` as Verilog, each distinct module once."""
    text = verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
    return _merge_identical_modules(text)


def _merge_identical_modules(text: str) -> str:
    """Keep one of the modules that differ in nothing but their name; there is one copy of the FMA for each place."""
    header, *modules = re.split(r"^(?=module )", text, flags=re.MULTILINE)
    first: dict[str, str] = {}
    renamed: dict[str, str] = {}
    kept = []
    for module in modules:
        found = re.match(r"module (\\\S+ |\w+)", module)
        assert found, "a module starts with its name"
        name, body = found[1], re.sub(r"dump_module\$\d+", "dump_module", module[found.end() :])
        if body in first:
            renamed[name] = first[body]
        else:
            first[body] = name
            kept.append(f"module {name}{body}")
    instance = re.compile(r"^(\s+)(\\\S+ |\w+)(?= \S+ \($)", flags=re.MULTILINE)
    return header + instance.sub(lambda i: i[1] + renamed.get(i[2], i[2]), "".join(kept))
