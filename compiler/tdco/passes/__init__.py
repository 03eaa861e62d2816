"""Rewrites of the graph: one function ``Graph -> Graph`` per file. ``pipeline`` lists them in order.

A pass keeps what the graph computes and the names of its inputs, outputs, state and updates.
"""

from .eliminate_common import eliminate_common
from .fold_batch_norm import fold_batch_norm
from .fold_constants import fold_constants
from .fuse_bias import fuse_bias
from .fuse_outer import fuse_outer
from .fuse_relu import fuse_relu
from .fuse_scale import fuse_scale
from .fuse_sum import fuse_sum
from .fuse_update import fuse_update
from .merge_slices import merge_slices
from .multiply_twice import multiply_twice
from .rematerialise import Recomputed, rematerialise
from .sink_transposes import sink_transposes
from .store_as_read import store_as_read
from .turn_products import turn_products
from .watch_flags import watch_flags

__all__ = [
    "Recomputed",
    "eliminate_common",
    "fold_batch_norm",
    "fold_constants",
    "fuse_bias",
    "fuse_outer",
    "fuse_relu",
    "fuse_scale",
    "fuse_sum",
    "fuse_update",
    "merge_slices",
    "multiply_twice",
    "rematerialise",
    "sink_transposes",
    "store_as_read",
    "turn_products",
    "watch_flags",
]
