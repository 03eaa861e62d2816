"""Floating-point arithmetic of the engine: formats, rounding, fused multiply-add."""

from .fma import Fma
from .round import FP16, FP32, FloatFormat

__all__ = ["FP16", "FP32", "FloatFormat", "Fma"]
