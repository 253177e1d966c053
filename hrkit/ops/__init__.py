"""Suppression of duplicate boxes (by IoU) and of duplicate poses (by OKS).

Each operation has a plain NumPy reference, a PyTorch version for any device, and, where it pays, a native kernel that
is built on demand and used once it is there. All give the same result.
"""

from hrkit.ops.suppression import batched_nms, nms, oks, oks_nms, soft_nms, soft_oks_nms

__all__ = ["batched_nms", "nms", "oks", "oks_nms", "soft_nms", "soft_oks_nms"]
