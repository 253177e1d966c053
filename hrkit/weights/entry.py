"""One set of weights: what it is of, where it is, and who made it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from attrs import Factory, field, frozen
from attrs.converters import optional

from hrkit.errors import WeightsError
from hrkit.pose_spec import PoseSpec, as_size
from hrkit.structures import Size

Kind = Literal["pose", "detector", "backbone"]
"""What weights fill: a pose model, a detector, or a backbone alone (from ImageNet, as a start for training)."""

_CHECKSUM = re.compile(r"sha256:[0-9a-fA-F]{8,64}|sha1:[0-9a-fA-F]{8,40}")


@frozen
class WeightsEntry(PoseSpec):
    """One set of weights, where it is, and, as a `PoseSpec`, everything that using it takes.

    Raises `WeightsError` for a field that makes no sense, `UnknownNameError` for an unknown skeleton.
    """

    name: str
    """Unique; also the name of the file in the cache: letters, digits and `_ . + -`."""
    model: str
    """The registered backbone or detector that the weights fill; it may be a pattern, such as `hub/*`."""
    kind: Kind = "pose"
    url: str | None = None
    """A web address or `hf-hub:owner/name[@revision]`. For a pattern it may hold the same `*`."""
    checksum: str | None = None
    """"sha256:<hex>" or "sha1:<hex>", in full or at least its first 8 digits."""
    size: int | None = None
    """Bytes, if known."""
    file: Path | None = field(default=None, converter=optional(Path))
    """A file that the plugin carries; then nothing is downloaded."""
    input_size: Size | None = field(
        default=Factory(lambda self: (256, 192) if self.kind == "pose" else None, takes_self=True), converter=as_size
    )
    """(height, width) that the weights were trained with, px; None if no size is fixed. Pose weights need one."""
    backbone_options: Mapping[str, Any] = field(factory=dict, hash=False)  # Any: the options are the backbone's own
    """Options of the backbone that the weights need, such as its width."""
    metrics: Mapping[str, float] = field(factory=dict, hash=False)
    """As published, 0 to 1: "AP", "AP50", "AR", ..., "PCKh", "PCK@0.2", "AUC", "NME"; "EPE" in px."""
    licence: str = ""
    source: str = ""
    """Who published them."""
    default: bool = False
    """Whether `weights="auto"` takes this entry."""

    def __attrs_post_init__(self) -> None:
        kinds = get_args(Kind)
        remote = self.url is None or urlsplit(self.url).scheme in ("http", "https", "hf-hub")
        checks = (
            (re.fullmatch(r"\w[\w.+-]*", self.name), "name is not a plain file name"),
            (self.model, "model is empty"),
            (self.kind in kinds, f"kind is {self.kind!r}, not one of {', '.join(kinds)}"),
            (self.url or self.file, "it needs a url or a file"),
            (remote, "url is not http, https or hf-hub"),
            (not self.checksum or _CHECKSUM.fullmatch(self.checksum), "checksum is not sha256:<hex> or sha1:<hex>"),
            (self.size is None or self.size > 0, "size is not positive"),
            (self.kind != "pose" or self.input_size, "input_size is missing"),
        )
        for problem in [*(problem for right, problem in checks if not right), *self.problems()]:
            raise WeightsError(f"weights entry {self.name!r}: {problem}")

    @property
    def figure(self) -> tuple[str, float] | None:
        """The metric to compare weights by: AP (also "AP (own split)") or PCK if there is one, else the first."""
        ordered = sorted(self.metrics, key=lambda name: not name.startswith(("AP", "PCK")))
        return (ordered[0], self.metrics[ordered[0]]) if ordered else None

    @property
    def file_name(self) -> str:
        """What the file is called in the cache."""
        return self.name + (PurePosixPath(urlsplit(self.url or "").path).suffix or ".pth")
