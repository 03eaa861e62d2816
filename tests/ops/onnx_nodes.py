"""The node tests that come with the onnx package, run on tdco's importer and operators.

``python -m tests.ops.onnx_nodes`` prints the table of docs/onnx.md.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case import node as cases
from tdco.errors import TdcoError
from tdco.ir import evaluate
from tdco.onnx_import import import_onnx
from tdco.onnx_ops import LOWER

CLAIMED = sorted(name for name in LOWER if not name.endswith("Grad"))
DOCUMENT = Path(__file__).parents[2] / "docs" / "onnx.md"


@cache
def node_tests() -> tuple[Any, ...]:
    """Every test of a single node whose operator tdco claims. (Tests of an operator's expansion have several nodes.)"""
    folder = Path(cases.__file__).parent
    wanted = re.compile(rf'make_node\(\s*"({"|".join(CLAIMED)})"')
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in pkgutil.iter_modules([str(folder)]):
            source = folder / f"{module.name}.py"
            if source.exists() and wanted.search(source.read_text()):
                importlib.import_module(f"{cases.__name__}.{module.name}")
    tests = [t for t in cases._NodeTestCases if len(t.model.graph.node) == 1]
    return tuple(t for t in tests if t.model.graph.node[0].op_type in CLAIMED and not t.model.graph.node[0].domain)


def outcome(test: Any) -> str:
    """ "" if every data set passes, else why tdco does not support it.

    What may have to be known at compile time (shapes, axes, statistics) is a graph input in these tests. So first all
    inputs are fed; if that is refused, only the first one is, and the others become constants.

    Raises:
        AssertionError: the node is taken, but its result is wrong.
    """
    refusal = ""
    for fed in (len(test.model.graph.input), 1):
        try:
            for inputs, outputs in test.data_sets:
                check(test, arrays(test.model.graph.input, inputs), arrays(test.model.graph.output, outputs), fed)
            return ""
        except TdcoError as e:
            refusal = e.what
    return refusal


def arrays(infos: Any, values: Any) -> dict[str, np.ndarray]:
    found = {}
    for info, value in zip(infos, values, strict=False):
        if isinstance(value, onnx.TensorProto):
            value = numpy_helper.to_array(value)
        if not isinstance(value, np.ndarray | np.generic):
            raise TdcoError(f"takes or gives a {type(value).__name__}, which is no tensor")
        found[info.name] = np.asarray(value)
    return found


def check(test: Any, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], fed: int) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    constant = dict(list(inputs.items())[fed:])
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constant.items())
    unsupported = [str(a.dtype) for a in inputs.values() if a.dtype.kind not in "fiu"]
    if unsupported:
        raise TdcoError(f"has element type {unsupported[0]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = import_onnx(model, several_inputs=True)
        feeds = {n: inputs[n] for n in graph.inputs}
        values = evaluate(graph, feeds, np.float32)
    for name, (wanted_name, want) in zip(graph.outputs, outputs.items(), strict=False):
        got = np.asarray(values[name])
        assert got.shape == want.shape, f"{test.name}: {wanted_name} is {got.shape}, not {want.shape}"
        np.testing.assert_allclose(
            got.astype(np.float64), want.astype(np.float64), rtol=max(test.rtol, 1e-3), atol=max(test.atol, 1e-6),
            err_msg=test.name,
        )  # fmt: skip


def table() -> str:
    """One line per operator: tests passed, not supported, and why."""
    passed: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = defaultdict(Counter)
    for test in node_tests():
        name, why = test.model.graph.node[0].op_type, outcome(test)
        passed[name] += not why
        if why:
            refused[name][re.sub(r"\s+", " ", re.sub(r"'[^']*'", "..", why)).replace("|", "/")[:90]] += 1
    lines = ["| operator | passed | not supported | why not |", "|---|---|---|---|"]
    for name in sorted({*passed, *refused}):
        reasons = "; ".join(f"{count}x {why}" for why, count in refused[name].most_common(4))
        more = len(refused[name]) - 4
        reasons += f"; {more} more reasons" if more > 0 else ""
        lines.append(f"| {name} | {passed[name]} | {sum(refused[name].values())} | {reasons} |")
    total, not_supported = sum(passed.values()), sum(sum(r.values()) for r in refused.values())
    lines.append(f"| **all** | **{total}** | **{not_supported}** | |")
    return "\n".join(lines)


def main() -> None:
    print(table())


if __name__ == "__main__":
    main()
