"""Floating-point arithmetic of the engine: formats, rounding, conversion, fused multiply-add."""

from .convert import narrow, widen
from .fma import Fma
from .round import FORMATS, FP16, FP32, FloatFormat

__all__ = ["FORMATS", "FP16", "FP32", "FloatFormat", "Fma", "narrow", "widen"]
