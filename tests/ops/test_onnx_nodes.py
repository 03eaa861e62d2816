"""Conformance: onnx's node tests of every claimed operator pass or are refused by name; docs/onnx.md counts them."""

from __future__ import annotations

from . import onnx_nodes


def test_every_node_test_passes_or_is_in_the_table_with_its_reason() -> None:
    """A wrong result raises in ``table``; an operator without a test has no line and must be known to have none."""
    table = onnx_nodes.table()
    assert table in onnx_nodes.DOCUMENT.read_text(), "run `python -m tests.ops.onnx_nodes` and put its table there"
    untested = set(onnx_nodes.CLAIMED) - {t.model.graph.node[0].op_type for t in onnx_nodes.node_tests()}
    assert not untested, f"onnx has no node test of {sorted(untested)}"
