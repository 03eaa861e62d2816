"""The same operators in PyTorch: operator name -> function(inputs, attrs) -> outputs. Inputs are float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.nn import functional as F

Tensors = Sequence[Any]
Attrs = Any


def rectified(z: torch.Tensor, attrs: Attrs) -> Tensors:
    return [F.relu(z) if attrs.get("relu") else z]


def conv(inputs: Tensors, attrs: Attrs) -> Tensors:
    """NHWC and HWIO, as the device keeps them."""
    x, w, bias = [*inputs, None][:3]
    top, left, bottom, right = attrs["pads"]
    padded = F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    filters = w.permute(3, 2, 0, 1).contiguous()
    z = F.conv2d(padded, filters, bias, attrs["strides"], groups=attrs.get("group", 1))
    return rectified(z.permute(0, 2, 3, 1), attrs)


def reduce(function: Callable[..., torch.Tensor]) -> Callable[[Tensors, Attrs], Tensors]:
    return lambda inputs, attrs: [function(inputs[0], dim=attrs["axes"], keepdim=bool(attrs["keepdims"]))]


def slice_(inputs: Tensors, attrs: Attrs) -> Tensors:
    (x,) = inputs
    for start, end, axis in zip(attrs["starts"], attrs["ends"], attrs["axes"], strict=True):
        x = x.narrow(axis, start, end - start)
    return [x]


def cross_entropy(inputs: Tensors, attrs: Attrs) -> Tensors:
    logits, labels = inputs
    return [F.cross_entropy(logits, labels.long()).reshape(1), F.log_softmax(logits, -1)]


def layer_norm(inputs: Tensors, attrs: Attrs) -> Tensors:
    x, gamma, beta = inputs
    epsilon = attrs.get("epsilon", 1e-5)
    rstd = 1 / torch.sqrt(x.var(-1, correction=0) + epsilon)
    return [F.layer_norm(x, x.shape[-1:], gamma, beta, epsilon), x.mean(-1), rstd]


def max_pool(inputs: Tensors, attrs: Attrs) -> Tensors:
    """NHWC; padded by hand, because PyTorch pads both sides alike."""
    top, left, bottom, right = attrs["pads"]
    padded = F.pad(inputs[0].permute(0, 3, 1, 2), (left, right, top, bottom), value=float("-inf"))
    return [F.max_pool2d(padded, attrs["kernel_shape"], attrs["strides"]).permute(0, 2, 3, 1)]


def average_pool(inputs: Tensors, attrs: Attrs) -> Tensors:
    """By sums, because PyTorch pads both sides alike."""
    top, left, bottom, right = attrs["pads"]
    x = inputs[0].permute(0, 3, 1, 2)

    def sums(values: torch.Tensor) -> torch.Tensor:
        padded = F.pad(values, (left, right, top, bottom))
        return F.avg_pool2d(padded, attrs["kernel_shape"], attrs["strides"], divisor_override=1)

    count = prod(attrs["kernel_shape"]) if attrs.get("count_include_pad") else sums(torch.ones_like(x[:1, :1]))
    return [(sums(x) / count).permute(0, 2, 3, 1)]


def depthwise_conv(inputs: Tensors, attrs: Attrs) -> Tensors:
    x, w, bias = [*inputs, None][:3]
    top, left, bottom, right = attrs["pads"]
    padded = F.pad(x.permute(0, 3, 1, 2), (left, right, top, bottom))
    filters = w.permute(2, 0, 1)[:, None].contiguous()
    return [F.conv2d(padded, filters, bias, attrs["strides"], groups=x.shape[3]).permute(0, 2, 3, 1)]


def batch_norm(inputs: Tensors, attrs: Attrs) -> Tensors:
    """With the statistics applied first: PyTorch takes a variance, which must not be negative, instead of rstd."""
    x, scale, shift, mean, rstd = inputs
    normal = ((x - mean) * rstd).movedim(-1, 1)
    zero, one = torch.zeros_like(mean), torch.ones_like(mean)
    return [F.batch_norm(normal, zero, one, scale, shift, eps=0.0).movedim(1, -1)]


TORCH: dict[str, Callable[[Tensors, Attrs], Tensors]] = {
    "Add": lambda i, a: [i[0] + i[1]],
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Concat": lambda i, a: [torch.cat(list(i), a["axis"])],
    "Contiguous": lambda i, a: [i[0].contiguous()],
    "Conv": conv,
    "DepthwiseConv": depthwise_conv,
    "Expand": lambda i, a: [i[0].expand(a["shape"])],
    "Gelu": lambda i, a: [F.gelu(i[0])],
    "Gemm": lambda i, a: rectified(i[0] @ i[1] + i[2], a),
    "LayerNormalization": layer_norm,
    "MSELoss": lambda i, a: [F.mse_loss(i[0], i[1]).reshape(1)],
    "MatMul": lambda i, a: rectified(i[0] @ i[1], a),
    "MaxPool": max_pool,
    "Mul": lambda i, a: [i[0] * i[1]],
    "ReduceMean": reduce(torch.mean),
    "ReduceSum": reduce(torch.sum),
    "Relu": lambda i, a: [F.relu(i[0])],
    "Reshape": lambda i, a: [i[0].reshape(a["shape"])],
    "Slice": slice_,
    "Softmax": lambda i, a: [F.softmax(i[0] * a.get("scale", 1.0), -1)],
    "SoftmaxCrossEntropyLoss": cross_entropy,
    "Transpose": lambda i, a: [i[0].permute(a["perm"])],
}
