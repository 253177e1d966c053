"""Suppression of duplicate boxes (by IoU) and of duplicate poses (by OKS).

Each operation has a plain NumPy reference and a PyTorch implementation for any device; `nms`, `batched_nms` and
`oks_nms` also have a native one, which `hrkit build-ops` compiles. All give the same results. `tensors` has what other
rooms do with tensors and arrays alike.
"""

from hrkit.ops.suppression import batched_nms, nms, oks, oks_nms, soft_nms, soft_oks_nms

__all__ = ["batched_nms", "nms", "oks", "oks_nms", "soft_nms", "soft_oks_nms"]
