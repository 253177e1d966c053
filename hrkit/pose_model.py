"""Pose networks: from frames and boxes to poses, or, for networks that find people by themselves, from frames alone."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from hrkit import geometry, registry, warping
from hrkit.errors import BoxError, HrkitError, PluginError, WeightsError
from hrkit.files import FilePath
from hrkit.heads.codecs import Codec, create_codec
from hrkit.ops.tensors import Outputs, of_each
from hrkit.pose_spec import PoseSpec, checked_size, default_sigma
from hrkit.profiling import section
from hrkit.runtimes import prepare
from hrkit.runtimes.calibration import WHOLE_PICTURE, varied_crops
from hrkit.skeletons import check_named, find_skeleton, same_joints, skeleton_of
from hrkit.structures import Crops, Detections, Frame, Poses, Size, Skeleton
from hrkit.weights import catalogue, checkpoints, hub

logger: logging.Logger = logging.getLogger("hrkit")


class PoseModel(nn.Module):
    """A top-down pose network: (N,3,H,W) normalised crops -> outputs for its codec, such as (N,K,H/4,W/4) heatmaps.

    `spec` records its input and output. `name` is the registered name of its backbone, built with `backbone_options`.
    A backbone or head whose layers depend on the input's size has a method `set_input_size`, which is called with it.
    Raises `HrkitError` if the input size does not fit the backbone's strides.
    """

    needs_boxes = True
    """Whether `poses` needs the boxes of people. If not, the network finds people by itself."""
    weights_file: Path | None = None
    """The file that its weights were loaded from, if any."""
    threshold: float = 0.0
    """Least score of the people in what `poses` gives, for a network that finds people by itself."""

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        spec: PoseSpec,
        *,
        name: str = "",
        backbone_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.backbone: nn.Module = backbone
        self.head: nn.Module = head
        self.spec: PoseSpec = spec
        self.input_size: Size = checked_size(spec.input_size)
        self.name: str = name
        self.backbone_options: dict[str, Any] = dict(backbone_options or {})
        self._output_stride: int = getattr(head, "output_stride", 4)
        self._fast: nn.Module | None = None
        strides: Sequence[int] = backbone.strides  # type: ignore[assignment]  # part of the contract of backbones
        multiple: int = getattr(backbone, "input_multiple", max(strides))
        if any(side < multiple or side % multiple for side in self.input_size):
            fitting = tuple(max(multiple, round(side / multiple) * multiple) for side in self.input_size)
            raise HrkitError(f"input size {self.input_size} must be a multiple of {multiple}; take {fitting}")
        for part in (backbone, head):
            resize: Callable[[Size], object] | None = getattr(part, "set_input_size", None)
            if resize is not None:
                resize(self.input_size)

    def forward(self, images: Tensor) -> Outputs:
        """(N,3,H,W) normalised, in the network's channel order -> heatmaps (N,K,H/4,W/4), or several tensors."""
        return self.head(self.backbone(images)) if self._fast is None else self._fast(images)

    @property
    def skeleton(self) -> Skeleton:
        """The joints, in the order of the output."""
        return self.spec.skeleton

    @property
    def heatmap_size(self) -> Size:
        """(h, w): a quarter of the input, or what the head says as `output_stride`."""
        return self.input_size[0] // self._output_stride, self.input_size[1] // self._output_stride

    @property
    def device(self) -> torch.device:
        """The device of the network's tensors."""
        return prepare.placement(self)[0]

    @property
    def dtype(self) -> torch.dtype:
        """The precision that the network computes in."""
        return prepare.placement(self)[1]

    def prepared(self, device: torch.device | str = "cpu", precision: str = "auto", runtime: str = "auto") -> PoseModel:
        """A copy made fast for inference on `device`, as `prepare.prepare` does; this one stays as it is.

        The copy cannot be trained or saved. Preparing it again gives the copy itself.
        """
        if self._fast is not None:
            return self
        example = torch.zeros(1, 3, *self.input_size, device=self.device, dtype=self.dtype)
        fast = copy.copy(self)
        fast._modules = {}
        fast._fast = prepare.prepare(self, example, torch.device(device), precision, runtime, self._calibration)
        return fast.eval()

    def _calibration(self) -> Iterator[Tensor]:
        """Inputs (1,3,H,W) to fit int8 to."""
        crops = varied_crops(self.input_size, self.spec.margin if self.needs_boxes else WHOLE_PICTURE)
        return (self.normalise(torch.from_numpy(crop)[None]) for crop in crops)

    def create_codec(self, name: str | None = None) -> Codec:
        """The network's own codec, or another by name."""
        options = self.spec.codec_options if name in (None, self.spec.codec) else {}
        sizes = {"input_size": self.input_size, "heatmap_size": self.heatmap_size}
        return create_codec(name or self.spec.codec, **sizes, sigma=self.spec.sigma, **options)

    def normalise(self, crops: Tensor) -> Tensor:
        """(N,H,W,3) uint8 BGR -> (N,3,H,W), normalised, on the network's device and in its precision."""
        spec = self.spec
        return warping.normalise(crops, spec.mean, spec.std, *prepare.placement(self), rgb=spec.channel_order == "rgb")

    @torch.inference_mode()
    def poses(
        self,
        frames: Sequence[Frame],
        boxes: Sequence[Detections] | None = None,
        *,
        codec: Codec | None = None,
        flip_test: bool = False,
        return_heatmaps: bool = False,
    ) -> list[Poses]:
        """The poses in each (H,W,3) BGR frame: one person per box of the frame, in one pass of the network.

        `codec` defaults to the network's own. Raises `BoxError` without boxes.
        """
        if boxes is None:
            raise BoxError(f"{self.describe()} needs the boxes of people; use a detector or pass boxes")
        codec = codec or self.create_codec()
        ends = np.cumsum([len(people) for people in boxes])
        if not ends.size or not ends[-1]:
            return [Poses.empty(self.skeleton, self.heatmap_size if return_heatmaps else None) for _ in frames]
        with section("crops"):
            crops = self.crops([(frame, people.xyxy) for frame, people in zip(frames, boxes, strict=True)], codec)
        with section("pose network"):
            outputs = self.outputs(crops.images, codec, flip_test=flip_test)
        with section("decoding"):
            points, scores = (decoded.cpu().numpy() for decoded in codec.decode(outputs))
            keypoints = geometry.apply_affine(crops.to_frame, points).astype(np.float32)
        heatmaps: Sequence[NDArray[np.float32] | None] = [None] * len(boxes)
        if return_heatmaps and isinstance(outputs, Tensor):
            heatmaps = np.split(outputs.cpu().numpy(), ends[:-1])
        rows = zip(np.split(keypoints, ends[:-1]), np.split(scores, ends[:-1]), boxes, heatmaps, strict=True)
        return [Poses(points, sure, people, self.skeleton, heatmaps=maps) for points, sure, people, maps in rows]

    def crops(self, people: Sequence[tuple[Frame, ArrayLike]], codec: Codec) -> Crops:
        """Cuts people out of frames: pairs of a (H,W,3) BGR frame and its (N_i,4) boxes, xyxy frame px.

        `Crops.to_frame` maps what `codec` decodes to the frame each person came from.
        """
        cut, to_frame = [], []
        for frame, xyxy in people:
            boxes = geometry.xyxy_to_xywh(xyxy)
            transforms = geometry.crop_transform(boxes, self.input_size, margin=self.spec.margin, udp=codec.udp)
            cut.append(warping.warp_crops(frame, transforms, self.input_size, self.device))
            to_frame.append(geometry.invert_affine(transforms))
        maps = np.concatenate(to_frame)
        maps[:, :, :2] *= codec.decoded_scale
        return Crops(self.normalise(torch.cat(cut)), maps)

    def outputs(self, images: Tensor, codec: Codec | None = None, *, flip_test: bool = False) -> Outputs:
        """(N,3,H,W) -> what the codec decodes, float32: heatmaps (N,K,h,w), or several tensors.

        `flip_test` averages with the pass of the mirrored images, in twice the time. Raises `HrkitError` if that is
        asked for joints without names.
        """
        outputs = of_each(Tensor.float, self(images))
        if flip_test:
            check_named(self.skeleton)
            mirrored = of_each(Tensor.float, self(images.flip(3)))
            back = (codec or self.create_codec()).mirrored(mirrored, self.skeleton.flip_indices)
            outputs = of_each(lambda one, other: (one + other) / 2, outputs, back)
        return outputs

    def describe(self) -> str:
        """The network and its number of joints, in words."""
        return f"{self.name or type(self.backbone).__name__} with {len(self.skeleton)} joints"

    @property
    def metadata(self) -> dict[str, Any]:
        """Plain values that say everything needed to use the network's weights; they are saved with them."""
        return {"backbone": self.name, "backbone_options": self.backbone_options, **self.spec.to_metadata()}

    def save(self, path: FilePath, **metadata: Any) -> None:
        """Writes weights and all that is needed to use them to one `.safetensors` file, which `weights=` takes.

        Raises `HrkitError` for a prepared network, whose layers are no longer those that the weights belong to.
        """
        if self._fast is not None:
            raise HrkitError(f"{path}: a network that was made fast cannot be saved; save the one it was made from")
        checkpoints.save(self, path, {**self.metadata, **metadata})


class BottomUpModel(PoseModel):
    """A pose network for whole pictures; a head may name a subclass of it as its `pose_model`.

    A subclass implements `find_poses`. Its `forward` may give any (N,C,h,w). `input_size` is the size of pictures in
    training.
    """

    needs_boxes = False

    def find_poses(
        self, frames: Sequence[Frame], *, flip_test: bool = False, return_heatmaps: bool = False
    ) -> list[Poses]:
        """One `Poses` for each (H,W,3) uint8 BGR frame, in order; best people first.

        Frames may differ in size, and none is modified. Each box encloses the person's joints. Its score, which is
        also the `own_scores` of the poses, says how sure the network is of the person. With `return_heatmaps` poses
        hold heatmaps of the crop of each person's box, as for `msra`.
        """
        raise NotImplementedError

    @torch.inference_mode()
    def poses(
        self,
        frames: Sequence[Frame],
        boxes: Sequence[Detections] | None = None,
        *,
        codec: Codec | None = None,
        flip_test: bool = False,
        return_heatmaps: bool = False,
    ) -> list[Poses]:
        """The poses of everybody in each (H,W,3) BGR frame whose score is at least `threshold`.

        Raises `BoxError` for boxes, `PluginError` if `find_poses` does not give one `Poses` per frame.
        """
        if boxes is not None:
            raise BoxError(f"{self.describe()} finds people by itself; it takes no boxes")
        poses = self.find_poses(frames, flip_test=flip_test, return_heatmaps=return_heatmaps)
        if len(poses) != len(frames) or not all(isinstance(one, Poses) for one in poses):
            raise PluginError(f"{type(self).__name__}.find_poses must give one Poses for each of {len(frames)} frames")
        return [one[one.detections.scores >= self.threshold] for one in poses]

    def crops(self, *given: Any, **options: Any) -> NoReturn:  # Any: those of the methods it stands for
        """Raises `HrkitError`: the network sees whole pictures, and its output does not belong to one person."""
        raise HrkitError(f"{self.describe()} sees whole pictures, not people one by one")

    outputs: Any = crops

    def create_codec(self, name: str | None = None) -> Codec:
        """The codec of the heatmaps that poses hold. Raises `HrkitError` for any other codec."""
        if name not in (None, self.spec.codec):
            raise HrkitError(f"{self.describe()} makes people of its maps by itself; leave the decoder out")
        return super().create_codec()


def create_pose_model(
    backbone: str,
    *,
    weights: FilePath | None = None,
    head: str | None = None,
    num_joints: int | None = 17,
    input_size: int | Size | None = (256, 192),
    codec: str | None = None,
    sigma: float | tuple[float, float] | None = None,
    skeleton: Skeleton | FilePath | None = None,
    channel_order: str | None = None,
    backbone_weights: FilePath | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    other_joints: bool = False,
) -> PoseModel:
    """A pose network by the name of its backbone, in evaluation mode.

    `weights`: None leaves it as initialised; "auto" takes the published weights that fit the other arguments; else the
    name of a weights entry, a file, a run's folder, or `hf-hub:owner/name[@revision]`, which `hrkit publish` writes. A
    file, folder or address in the place of `backbone` stands for network and weights. Each of `head`, `codec`, `sigma`,
    `skeleton`, `channel_order`, `num_joints` and `input_size` that is None comes from the weights, else from the
    backbone or the head; for your own weights, leave `num_joints` and `input_size` at None. `skeleton` may be a name or
    a TOML file, and gives the number of joints. `input_size` is (height, width). `backbone_weights` ("auto", a name or
    a file; for timm "pretrained") starts the backbone alone from ImageNet. With `other_joints`, weights may be of other
    joints than `skeleton`, to start training: the head's last layer takes the rows of joints with the same names.

    Raises `UnknownNameError` for names, `WeightsError` for weights that do not fit, `DownloadError` if they cannot be
    fetched, `HrkitError` for sizes and joints that make no sense, `PluginError` if a plugin builds something else than
    a backbone.
    """
    backbone, weights = recorded_network(backbone, weights)
    if num_joints is not None and (not isinstance(num_joints, int) or num_joints < 1):
        raise HrkitError(f"num_joints must be a positive number, not {num_joints!r}")
    input_size = None if input_size is None else checked_size(input_size)
    if skeleton is not None:
        skeleton = find_skeleton(skeleton)
        num_joints = len(skeleton)
    registry.backbones.find(backbone)
    selected = None if weights == "auto" else catalogue.select(backbone, weights)
    checkpoint = _read(selected)
    needed: Mapping[str, Any] = getattr(selected, "backbone_options", {})
    options = {**_recorded_options(checkpoint), **needed, **(backbone_options or {})}
    loaded = {**options, "pretrained": True} if backbone_weights == "pretrained" else options
    trunk = registry.backbones.build(backbone, **loaded)
    _check_backbone(trunk, backbone)
    if weights == "auto":
        wanted_head = None if head == trunk.default_head else head
        published = {entry.skeleton.keypoint_names for entry in catalogue.entries(backbone, "pose")}
        anything = other_joints and (skeleton and skeleton.keypoint_names) not in published
        asked: dict[str, Any] = {} if anything else {"skeleton": skeleton, "num_joints": num_joints}
        selected = catalogue.choose(backbone, head=wanted_head, input_size=input_size, codec=codec, **asked)
        checkpoint = _read(selected)
        if selected.backbone_options:
            options = {**selected.backbone_options, **options}
            trunk = registry.backbones.build(backbone, **options)
    checkpoint = None if checkpoint is None else checkpoints.fitting(checkpoint, trunk)

    recorded = _recorded_spec(selected, checkpoint)
    if recorded is not None and skeleton is not None and not other_joints:
        _check_joints(selected, recorded.skeleton, skeleton)
    spec = recorded or _default_spec(checkpoint, trunk, None if other_joints else skeleton or num_joints, input_size)
    joints_before = spec.skeleton.keypoint_names
    if skeleton is None and num_joints not in (None, spec.num_joints):
        skeleton = skeleton_of(num_joints)
    head = head or spec.head or trunk.default_head
    spec = spec.replaced(skeleton=skeleton, head=head, input_size=input_size, channel_order=channel_order)
    top = registry.heads.build(head, channels=trunk.channels, strides=trunk.strides, num_joints=spec.num_joints)
    if recorded is None and hasattr(top, "output_spec"):
        spec = spec.replaced(**top.output_spec(spec.input_size))
    spec = spec.replaced(codec=codec, sigma=sigma, codec_options=None if codec in (None, spec.codec) else {})
    model: PoseModel = getattr(top, "pose_model", PoseModel)(trunk, top, spec, name=backbone, backbone_options=options)
    if backbone_weights != "pretrained":
        start = _read(catalogue.select(backbone, backbone_weights, kind="backbone"))
        if start is not None:
            checkpoints.load_backbone(trunk, checkpoints.fitting(start, trunk), backbone)
    if checkpoint is not None and other_joints and joints_before != model.skeleton.keypoint_names:
        _start_from(model, checkpoint, joints_before)
    elif checkpoint is not None:
        checkpoints.load(model, checkpoint, model.describe())
        model.weights_file = checkpoint.path
    return model.eval()


def _start_from(model: PoseModel, checkpoint: checkpoints.Checkpoint, joints: Sequence[str]) -> None:
    """Loads weights of other joints into a network and says which it took over."""
    names = model.skeleton.keypoint_names
    places = same_joints(names, joints)
    build = {"channels": model.backbone.channels, "strides": model.backbone.strides, "num_joints": len(names) + 1}
    other = nn.ModuleDict({"backbone": model.backbone, "head": registry.heads.build(str(model.spec.head), **build)})
    checkpoints.load_same_joints(model, checkpoint, model.describe(), other, places)
    new = ", ".join(name for name, place in zip(names, places.tolist(), strict=True) if place < 0)
    kept = f"the network and {np.count_nonzero(places >= 0)} of {len(names)} joints are taken over"
    logger.warning("%s: %s, by name%s", checkpoint.path, kept, f"; new: {new}" if new else "")


def _recorded_spec(
    selected: catalogue.WeightsEntry | Path | None, checkpoint: checkpoints.Checkpoint | None
) -> PoseSpec | None:
    """The spec that the weights record."""
    if isinstance(selected, catalogue.WeightsEntry):
        return selected
    if checkpoint is None or not checkpoint.metadata:
        return None
    try:
        return PoseSpec.from_metadata(checkpoint.metadata)
    except HrkitError as error:
        raise WeightsError(f"{checkpoint.path}: its metadata cannot be used ({error}); save it again") from None


def _default_spec(
    checkpoint: checkpoints.Checkpoint | None,
    trunk: Any,  # any backbone
    joints: Skeleton | int | None,
    input_size: Size | None,
) -> PoseSpec:
    """The spec of the backbone with the arguments given, for weights that record none."""
    order = trunk.channel_order
    size = getattr(trunk, "default_input_size", (256, 192)) if input_size is None else input_size
    if checkpoint is not None:
        joints, told = joints or checkpoint.num_joints, checkpoint.skeleton
        if isinstance(joints, int):
            joints = checkpoints.joints_of(checkpoint, joints)
        elif joints and told:
            _check_joints(checkpoint.path, told, joints)
        if checkpoint.layout == "official":  # the official ResNets saw BGR, with the mean of red on blue
            order = getattr(trunk, "official_channel_order", order)
        if input_size is None:
            logger.warning("%s does not say its input size: taking %dx%d", checkpoint.path, *size)
    skeleton = joints if isinstance(joints, Skeleton) else skeleton_of(joints or 17)
    sigma = getattr(trunk, "default_sigma", default_sigma(size))
    head = None if checkpoint is None else checkpoint.head
    return PoseSpec(
        skeleton=skeleton, head=head, sigma=sigma, input_size=size, mean=trunk.mean, std=trunk.std, channel_order=order
    )


def _check_joints(weights: object, told: Skeleton, wanted: Skeleton) -> None:
    """Warns if the caller names other joints than a file does. Raises `WeightsError` if they are not as many.

    Published weights have the joints that they have.
    """
    if told.keypoint_names != wanted.keypoint_names:
        entry = weights if isinstance(weights, catalogue.WeightsEntry) else None
        problem = f"weights {entry.name if entry else weights} have the joints of {told.name}, not of {wanted.name}"
        if entry or len(told) != len(wanted):
            raise WeightsError(f"{problem}; leave the skeleton out, or take other weights")
        logger.warning("%s, as which they now count", problem)


def _recorded_options(checkpoint: checkpoints.Checkpoint | None) -> dict[str, Any]:
    """The backbone options that a file records, without those that would fetch weights."""
    if checkpoint is None:
        return {}
    options = checkpoint.metadata.get("backbone_options", {})
    if not isinstance(options, dict):
        raise WeightsError(f"{checkpoint.path}: its metadata cannot be used (backbone_options); save it again")
    return {name: value for name, value in options.items() if name != "pretrained"}


def recorded_network(backbone: str, weights: FilePath | None) -> tuple[str, FilePath | None]:
    """Backbone and weights; an address of the Hub, a file or a run's folder in place of the backbone stands for both.

    Raises `WeightsError` if the file there does not record its network, or if other weights are named beside it, and
    as `catalogue.select`.
    """
    if not hub.is_address(backbone) and (backbone in registry.backbones or not os.path.exists(backbone)):
        return backbone, weights
    if weights not in (None, "auto"):
        raise WeightsError(f"{backbone} has weights of its own; name a backbone, or leave weights={weights!s} out")
    checkpoint = _read(catalogue.select(backbone, backbone))
    name = checkpoint and checkpoint.metadata.get("backbone")
    if not checkpoint or not isinstance(name, str) or not name:
        raise WeightsError(f"{backbone} does not record its network; name a backbone, and pass this as weights")
    return name, checkpoint.path


def _read(selected: catalogue.WeightsEntry | Path | None) -> checkpoints.Checkpoint | None:
    return None if selected is None else checkpoints.read_checkpoint(catalogue.fetch(selected))


def _check_backbone(trunk: Any, name: str) -> None:
    wanted = ("channels", "strides", "default_head", "mean", "std", "channel_order")
    missing = [attribute for attribute in wanted if not hasattr(trunk, attribute)]
    if missing or not isinstance(trunk, nn.Module):
        lacks = f"has no attribute {missing[0]!r}" if missing else "is no torch.nn.Module"
        raise PluginError(f"backbone {name!r} breaks the contract: {type(trunk).__name__} {lacks}")
