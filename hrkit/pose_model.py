"""A pose network: backbone, head, and what it must know of its input and output."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from hrkit import geometry, registry, warping
from hrkit.errors import HrkitError, PluginError, WeightsError
from hrkit.heads.codecs import Codec, create_codec
from hrkit.heads.flip import flip_back, merge_flipped
from hrkit.runtimes import prepare
from hrkit.skeletons import get_skeleton, skeleton_of
from hrkit.structures import Crops, Size, Skeleton
from hrkit.weights import catalogue, checkpoints, hub

logger = logging.getLogger("hrkit")

_RECORDED = ("head", "codec", "sigma", "input_size", "mean", "std", "channel_order")
"""What a weights entry, or an hrkit file itself, says of a network, besides its skeleton."""


class PoseModel(nn.Module):
    """(N,3,H,W) normalised crops -> (N,K,H/4,W/4) heatmaps.

    `input_size` is (height, width); the input is (pixel / 255 - `mean`) / `std` in `channel_order` ("rgb" or "bgr");
    `codec` and `sigma` (heatmap px) say how its heatmaps are read. Raises `HrkitError` if `input_size` does not fit
    the backbone's strides.
    """

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        skeleton: Skeleton,
        input_size: Size,
        mean: Sequence[float],
        std: Sequence[float],
        channel_order: str = "rgb",
        codec: str = "msra",
        sigma: float = 2.0,
        names: tuple[str, str] = ("", ""),
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.skeleton = skeleton
        self.input_size = checked_size(input_size)
        self.mean, self.std = tuple(mean), tuple(std)
        if channel_order not in ("rgb", "bgr"):
            raise HrkitError(f"channel order is 'rgb' or 'bgr', not {channel_order!r}")
        self.channel_order = channel_order
        self.codec_name = codec
        self.sigma = sigma
        self.names = names
        self.backbone_options = dict(backbone_options or {})
        strides: Sequence[int] = backbone.strides  # type: ignore[assignment]
        multiple: int = getattr(backbone, "input_multiple", max(strides))
        if any(side < multiple or side % multiple for side in self.input_size):
            fitting = tuple(max(multiple, round(side / multiple) * multiple) for side in self.input_size)
            raise HrkitError(f"input size {self.input_size} must be a multiple of {multiple}; take {fitting}")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N,3,H,W) normalised, in the network's channel order -> (N,K,H/4,W/4)."""
        return self.head(self.backbone(images))

    @property
    def heatmap_size(self) -> Size:
        """(h, w): a quarter of the input."""
        return self.input_size[0] // 4, self.input_size[1] // 4

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return prepare.placement(self)[0]

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return prepare.placement(self)[1]

    def prepared(
        self, device: torch.device | str = "cpu", precision: str = "auto", runtime: str = "auto"
    ) -> PreparedPoseModel:
        """The same network made fast for use on `device`; this one stays as it is. See `prepare.prepare`."""
        example = torch.zeros(1, 3, *self.input_size, device=self.device, dtype=self.dtype)
        network = prepare.prepare(self, example, torch.device(device), precision, runtime)
        return _prepared_class(type(self))(self, network)

    def create_codec(self, name: str | None = None) -> Codec:
        """The network's own codec, or another by name."""
        return create_codec(
            name or self.codec_name, input_size=self.input_size, heatmap_size=self.heatmap_size, sigma=self.sigma
        )

    def normalise(self, crops: torch.Tensor) -> torch.Tensor:
        """(N,H,W,3) uint8 BGR -> (N,3,H,W), normalised, on the network's device and in its precision."""
        device, dtype = prepare.placement(self)
        mean, std = (255 * np.array(values, np.float32) for values in (self.mean, self.std))
        rgb = self.channel_order == "rgb"
        if device.type == "cpu" and crops.numel():  # a table of all 256 values gives the same bits in half the time
            table = (np.arange(256, dtype=np.float32)[:, None] - mean) / std
            rows = crops.cpu().numpy().reshape(-1, crops.shape[2], 3)
            rows = cv2.LUT(cv2.cvtColor(rows, cv2.COLOR_BGR2RGB) if rgb else rows, table[None])
            return torch.from_numpy(rows).view(crops.shape).permute(0, 3, 1, 2).to(dtype)
        images = crops.to(device).permute(0, 3, 1, 2)
        images = images.flip(1) if rgb else images
        middle, spread = (torch.from_numpy(values).to(device).view(1, 3, 1, 1) for values in (mean, std))
        return ((images.float() - middle) / spread).to(dtype)

    def crops(self, people: Sequence[tuple[NDArray[np.uint8], ArrayLike]], codec: Codec) -> Crops:
        """Cuts people out of frames: pairs of a (H,W,3) BGR frame and its (N_i,4) boxes, xyxy frame px.

        `Crops.to_frame` maps what `codec` decodes to the frame each person came from.
        """
        cut, to_frame = [], []
        for frame, xyxy in people:
            transforms = geometry.crop_transform(geometry.xyxy_to_xywh(xyxy), self.input_size, udp=codec.udp)
            cut.append(self._warp(frame, transforms))
            to_frame.append(geometry.invert_affine(transforms))
        maps = np.concatenate(to_frame)
        maps[:, :, :2] *= codec.decoded_scale
        return Crops(self.normalise(torch.cat(cut)), maps)

    def _warp(self, frame: NDArray[np.uint8], transforms: NDArray[np.float64]) -> torch.Tensor:
        """(N,H,W,3) uint8 crops of a frame, on the network's device where that cuts them itself."""
        if warping.on_device(self.device):
            uploaded = warping.upload(frame, self.device)
            return warping.warp_crops(uploaded, transforms, self.input_size)
        return torch.from_numpy(geometry.warp_crops(frame, transforms, self.input_size))

    def heatmaps(self, images: torch.Tensor, *, flip_test: bool = False, shift: bool = True) -> torch.Tensor:
        """(N,3,H,W) -> (N,K,h,w) float32; with `flip_test` the average with the mirrored pass (twice the time)."""
        heatmaps = self(images).float()
        if flip_test:
            flipped = flip_back(self(images.flip(3)).float(), self.skeleton.flip_indices.tolist())
            heatmaps = merge_flipped(heatmaps, flipped, shift)
        return heatmaps

    def describe(self) -> str:
        """In words: network, joints."""
        return f"{self.names[0] or type(self.backbone).__name__} with {len(self.skeleton)} joints"

    def save(self, path: str | os.PathLike[str], **metadata: Any) -> None:
        """Writes weights and all that is needed to use them to one `.safetensors` file, which `weights=` takes."""
        skeleton = self.skeleton
        own = {
            "backbone": self.names[0],
            "backbone_options": self.backbone_options,
            "head": self.names[1],
            "codec": self.codec_name,
            "sigma": self.sigma,
            "input_size": self.input_size,
            "mean": self.mean,
            "std": self.std,
            "channel_order": self.channel_order,
            "skeleton": {
                "name": skeleton.name,
                "keypoint_names": skeleton.keypoint_names,
                "edges": skeleton.edges,
                "flip_pairs": skeleton.flip_pairs,
                "sigmas": skeleton.sigmas.tolist(),
            },
        }
        checkpoints.save(self, path, {**own, **metadata})


class PreparedPoseModel(PoseModel):
    """A pose network that was made fast: for use, not for training or saving."""

    def __init__(self, model: PoseModel, network: nn.Module) -> None:
        nn.Module.__init__(self)
        facts = {name: value for name, value in vars(model).items() if not name.startswith("_") and name != "training"}
        vars(self).update(facts)
        self.network = network
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(N,3,H,W) normalised, in the network's channel order -> (N,K,H/4,W/4)."""
        return self.network(images)

    def prepared(
        self, device: torch.device | str = "cpu", precision: str = "auto", runtime: str = "auto"
    ) -> PreparedPoseModel:
        """Itself: whoever prepared it has chosen."""
        return self

    def save(self, path: str | os.PathLike[str], **metadata: Any) -> None:
        """Raises `HrkitError`: its layers are no longer those that weights belong to."""
        raise HrkitError(f"{path}: a network that was made fast cannot be saved; save the one that it was made from")


def _prepared_class(kind: type[PoseModel]) -> type[PreparedPoseModel]:
    """Of a head's own kind of network: made fast it keeps the methods of that."""
    return PreparedPoseModel if kind is PoseModel else type(f"Prepared{kind.__name__}", (PreparedPoseModel, kind), {})


def create_pose_model(
    backbone: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    head: str | None = None,
    num_joints: int | None = 17,
    input_size: Size | None = (256, 192),
    codec: str | None = None,
    sigma: float | None = None,
    skeleton: Skeleton | None = None,
    channel_order: str | None = None,
    backbone_weights: str | os.PathLike[str] | None = None,
    backbone_options: Mapping[str, Any] | None = None,
) -> PoseModel:
    """A pose network by the name of its backbone, in evaluation mode.

    `weights`: None leaves it as initialised; "auto" takes the published weights that fit the other arguments; the name
    of a weights entry takes that; a path loads that file, `hf-hub:owner/name[@revision]` what `hrkit publish` wrote.
    Such an address in the place of `backbone` stands for network and weights. What is not given (`head`,
    `num_joints=None`, `input_size=None`, `codec`, `sigma`, `skeleton`, `channel_order`) comes from the weights, else
    from the backbone; of weights of one's own these two are mostly best None. `input_size` is (height, width).
    `backbone_weights` ("auto", name or path; for timm "pretrained") starts the backbone alone from ImageNet.

    Raises `UnknownNameError` for names, `WeightsError` for weights that do not fit, `DownloadError` if they cannot be
    had, `HrkitError` for sizes and joints that make no sense, `PluginError` if what a plugin builds is no backbone.
    """
    backbone, weights = published(backbone, weights)
    if num_joints is not None and (not isinstance(num_joints, int) or num_joints < 1):
        raise HrkitError(f"num_joints must be a positive number, not {num_joints!r}")
    input_size = None if input_size is None else checked_size(input_size)
    options = dict(backbone_options or {})
    selected = None if weights == "auto" else catalogue.select(backbone, weights)
    checkpoint = _read(selected)
    if checkpoint is not None:
        options = {**_recorded_options(checkpoint), **options}
    loaded = {**options, "pretrained": True} if backbone_weights == "pretrained" else options
    trunk = registry.backbones.build(backbone, **loaded)
    _check_backbone(trunk, backbone)
    if weights == "auto":
        wanted_head = None if head == trunk.default_head else head
        selected = catalogue.choose(
            backbone, head=wanted_head, num_joints=num_joints, input_size=input_size, codec=codec
        )
        checkpoint = _read(selected)
    entry = selected if isinstance(selected, catalogue.WeightsEntry) else None

    said = _what_weights_say(trunk, entry, checkpoint)
    if skeleton is None:
        known: Skeleton = said.get("skeleton") or skeleton_of(num_joints or said.get("num_joints") or 17)
        skeleton = known if num_joints in (None, len(known)) else skeleton_of(num_joints)
    input_size = input_size or said.get("input_size") or _default_input_size(trunk, backbone, checkpoint)
    head = head or said.get("head") or trunk.default_head
    top = registry.heads.build(head, channels=trunk.channels, strides=trunk.strides, num_joints=len(skeleton))
    kind: type[PoseModel] = getattr(top, "pose_model", PoseModel)
    own_sigma: float = getattr(trunk, "default_sigma", default_sigma(input_size))
    model = kind(
        trunk,
        top,
        skeleton=skeleton,
        input_size=input_size,
        mean=said.get("mean", trunk.mean),
        std=said.get("std", trunk.std),
        channel_order=channel_order or said["channel_order"],
        codec=codec or said.get("codec", "msra"),
        sigma=sigma or said.get("sigma") or own_sigma,
        names=(backbone, head),
        backbone_options=options,
    )
    if backbone_weights not in (None, "pretrained"):
        start = catalogue.resolve(backbone, backbone_weights, kind="backbone")
        if start is not None:
            checkpoints.load_backbone(trunk, checkpoints.read_checkpoint(start), backbone)
    if checkpoint is not None:
        checkpoints.load(model, checkpoint, model.describe())
    return model.eval()


def default_sigma(input_size: Size) -> float:
    """The official deviation of the Gaussians, heatmap px: 2 for inputs up to 256 px high, 3 for 384."""
    return 2.0 if input_size[0] <= 256 else 3.0


def _what_weights_say(
    trunk: nn.Module, entry: catalogue.WeightsEntry | None, checkpoint: checkpoints.Checkpoint | None
) -> dict[str, Any]:
    """What a weights entry, or an hrkit file itself, records of the network's input and output."""
    if entry is not None:
        return {
            "skeleton": get_skeleton(entry.skeleton),
            **{name: getattr(entry, name) for name in _RECORDED},
        }
    if checkpoint is None:
        return {"channel_order": trunk.channel_order}
    if not checkpoint.metadata:
        # the official ResNets saw BGR, with the mean of red on blue; whoever trained elsewhere saw what the trunk says
        official = getattr(trunk, "official_channel_order", trunk.channel_order)
        order = official if checkpoint.layout == "official" else trunk.channel_order
        return {"num_joints": checkpoint.num_joints, "channel_order": order}
    metadata = dict(checkpoint.metadata)
    try:
        checked = catalogue.WeightsEntry(  # which checks what every entry must hold
            "file", "file", file=checkpoint.path, **{name: metadata[name] for name in _RECORDED}
        )
        return {"skeleton": Skeleton(**metadata["skeleton"]), **{name: getattr(checked, name) for name in _RECORDED}}
    except (TypeError, LookupError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise WeightsError(f"{checkpoint.path}: its metadata is no good ({reason}); save it again") from None


def _recorded_options(checkpoint: checkpoints.Checkpoint) -> dict[str, Any]:
    """Options of the backbone that the file names; none of them fetches weights, as its own follow."""
    options = checkpoint.metadata.get("backbone_options", {})
    if not isinstance(options, dict):
        raise WeightsError(f"{checkpoint.path}: its metadata is no good (backbone_options); save it again")
    return {name: value for name, value in options.items() if name != "pretrained"}


def published(backbone: str, weights: str | os.PathLike[str] | None) -> tuple[str, str | os.PathLike[str] | None]:
    """Backbone and weights, where `backbone` may be an address of the Hub, which stands for both.

    Raises `WeightsError` if the file there does not say what network it is of, or other weights are named beside it,
    and as `hub.fetch`.
    """
    if not hub.is_address(backbone):
        return backbone, weights
    if weights not in (None, "auto"):
        raise WeightsError(f"{backbone} has weights of its own; name a backbone, or leave weights={weights!s} out")
    path = hub.fetch(backbone)
    name = checkpoints.read_checkpoint(path).metadata.get("backbone")
    if not isinstance(name, str) or not name:
        raise WeightsError(f"{backbone} does not say what network it is of; name a backbone, and pass it as weights")
    return name, path


def _read(selected: catalogue.WeightsEntry | Path | None) -> checkpoints.Checkpoint | None:
    if selected is None:
        return None
    path = catalogue.fetch(selected) if isinstance(selected, catalogue.WeightsEntry) else selected
    return checkpoints.read_checkpoint(path)


def _check_backbone(trunk: Any, name: str) -> None:
    wanted = ("channels", "strides", "default_head", "mean", "std", "channel_order")
    missing = [attribute for attribute in wanted if not hasattr(trunk, attribute)]
    if not isinstance(trunk, nn.Module) or missing:
        lacks = f"has no attribute {missing[0]!r}" if missing else "is no torch.nn.Module"
        raise PluginError(f"backbone {name!r} breaks the contract: {type(trunk).__name__} {lacks}")


def checked_size(size: Any) -> Size:
    """`size` as (height, width); raises `HrkitError` unless it is two positive whole numbers."""
    given = list(size) if isinstance(size, Iterable) and not isinstance(size, str) else [size]
    if len(given) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in given):
        raise HrkitError(f"a size is (height, width) in whole px, as (256, 192); got {size!r}")
    return int(given[0]), int(given[1])


def _default_input_size(trunk: nn.Module, backbone: str, checkpoint: checkpoints.Checkpoint | None) -> Size:
    height, width = getattr(trunk, "default_input_size", (256, 192))
    if checkpoint is not None:
        logger.warning(
            "%s does not say its input size: taking %dx%d for %s", checkpoint.path, height, width, backbone
        )
    return height, width
