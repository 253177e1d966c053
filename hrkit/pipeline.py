"""From pictures to people with keypoints: a detector finds people, a pose network puts keypoints on each."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, overload

import attrs
import numpy as np
from numpy.typing import ArrayLike

from hrkit.detectors.base import Detector, check_fraction
from hrkit.errors import BoxError, HrkitError, ImageError, PluginError, check_number, check_whole
from hrkit.files import FilePath
from hrkit.images import ImageSource, as_frame
from hrkit.ops.doubles import SAME_POSE, without_doubles
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.profiling import section
from hrkit.registry import decoders, detectors
from hrkit.runtimes.devices import Replicas, parse_devices
from hrkit.runtimes.prepare import check_precision, check_runtime, prepared
from hrkit.skeletons import check_flip_test
from hrkit.structures import Detections, Frame, Poses, Skeleton, check_boxes
from hrkit.weights import catalogue

Boxes = ArrayLike | Detections
Item = TypeVar("Item")
Job = tuple[list[int], list[Detections] | None]
"""One batch of the pose network: indices of frames, and the boxes in each if they are known."""

FRAMES_AT_ONCE = 8
"""Number of frames that go to a detector in one call."""

DEFAULT_DETECTOR = "lite_person"
"""The detector that "auto" stands for; it works offline."""


def create_detector(name: str, *, weights: FilePath | None = "auto", **options: object) -> Detector:
    """The registered detector `name`; `options` are its own (`threshold`, `nms_threshold`, `classes`, ...).

    `weights`: "auto" takes the published weights, if there are any; None leaves the network as initialised; else the
    name of a weights entry, a file, or `hf-hub:owner/name[@revision]`. Raises `UnknownNameError` with the choices,
    `DownloadError` if weights cannot be fetched, `WeightsError` for weights that do not fit, `HrkitError` for options
    that make no sense, `PluginError` if the plugin builds something else than a detector.
    """
    detectors.find(name)
    known = weights != "auto" or catalogue.entries(name, "detector")
    path = catalogue.resolve(name, weights, kind="detector") if known else None
    detector = detectors.build(name, weights=path, **options)
    if not isinstance(detector, Detector):
        raise PluginError(f"detector {name!r} has no detect(images); got {type(detector).__name__}")
    with contextlib.suppress(AttributeError):  # a record for metadata, which an object with slots goes without
        detector.registered_name, detector.weights_file = name, path  # type: ignore[attr-defined]
    return detector


def darknet_options(
    cfg: FilePath | None, names: FilePath | Sequence[str] | None, weights: FilePath | None
) -> dict[str, Any]:  # Any: options of `create_detector`
    """The options given for a Darknet network of your own. Raises `HrkitError` if its weights are not named."""
    if cfg is not None and weights == "auto":
        raise HrkitError(f"{os.fspath(cfg)}: name the weights of this network too (detector_weights)")
    return {name: value for name, value in (("cfg", cfg), ("class_names", names)) if value is not None}


class Pipeline:
    """Finds people and their keypoints.

    Without a `detector` the whole frame is one person, unless the network finds people by itself (`BottomUpModel`) and
    so takes no detector. `flip_test` averages with the mirrored crop, which is more accurate and takes twice the
    time. At most `max_batch_size` people go through the network at once. If two poses from the detector's boxes have an
    OKS above `doubles`, only the better one stays; None keeps both. `decoder` names a codec, by default the
    network's own. `device` is "auto", "cpu", "mps", "cuda:0" or several, as "cuda:0,1". Calls from several threads take
    turns on each device. `precision` is "float32", "bfloat16", "float16", or "auto" for the fastest precision that
    keeps keypoints within the documented bounds. `runtime` "auto" makes the networks fast and "eager" leaves their
    layers as they are; "onnx" and "openvino" run them in those libraries, and "onnx:FILE" or "openvino:FILE" runs a
    pose network written by `hrkit export`.
    """

    def __init__(
        self,
        pose_model: PoseModel,
        detector: Detector | None = None,
        *,
        decoder: str | None = None,
        flip_test: bool = False,
        max_batch_size: int = 32,
        doubles: float | None = SAME_POSE,
        device: str = "auto",
        precision: str = "auto",
        runtime: str = "auto",
    ) -> None:
        if detector is not None:
            _check_needs_detector(pose_model)
        devices = parse_devices(device)
        self.skeleton = pose_model.skeleton
        self.codec = pose_model.create_codec(decoder)
        if flip_test:
            check_flip_test(self.skeleton)
        self.flip_test = flip_test
        self.max_batch_size = check_whole("max_batch_size", max_batch_size)
        self.doubles = None if doubles is None else check_fraction("doubles", doubles)
        self._pose = Replicas(lambda one: prepared(pose_model, one, precision, runtime), devices)
        self._detect = None
        if detector is not None:
            own = "auto" if ":" in runtime else runtime  # an exported file replaces the pose network only
            self._detect = Replicas(lambda one: prepared(detector, one, precision, own), devices)

    @classmethod
    def from_names(
        cls,
        backbone: str,
        detector: str | None = None,
        *,
        weights: FilePath | None = "auto",
        detector_weights: FilePath | None = "auto",
        detector_cfg: FilePath | None = None,
        detector_names: FilePath | Sequence[str] | None = None,
        head: str | None = None,
        decoder: str | None = None,
        input_size: tuple[int, int] | None = None,
        num_joints: int | None = None,
        skeleton: Skeleton | FilePath | None = None,
        flip_test: bool = False,
        max_batch_size: int = 32,
        detection_threshold: float | None = None,
        nms_threshold: float | None = None,
        doubles: float | None = SAME_POSE,
        device: str = "auto",
        precision: str = "auto",
        runtime: str = "auto",
    ) -> Pipeline:
        """A pipeline from registered names, such as `Pipeline.from_names("hrnet_w48", "yolov3")`.

        `detector` "auto" is `lite_person` if the network needs a detector. A network of Darknet's of your own is
        `detector_cfg`, `detector_weights` and `detector_names`, a file of names or names. `weights` is "auto"
        (published weights, fetched once), a weights entry, a file, `hf-hub:owner/name[@revision]`, or None; the address
        in the place of `backbone` stands for both. `input_size` is (height, width). `skeleton`, a known name or a TOML
        file, names the joints of weights that do not. `detection_threshold` is the least score of a person, in the
        detector or in a network that finds people by itself; None, as for `nms_threshold`, is their own default. Raises
        `UnknownNameError`, `WeightsError`, `DownloadError` or `HrkitError`, each with a message that says what to do.
        """
        parse_devices(device)  # before anything is fetched
        check_precision(precision)
        check_runtime(runtime)
        if decoder is not None:
            decoders.find(decoder)
        for name, fraction in (("detection_threshold", detection_threshold), ("nms_threshold", nms_threshold)):
            if fraction is not None:
                check_number(name, fraction, 1)
        pose_model = create_pose_model(
            backbone, weights=weights, head=head, num_joints=num_joints, input_size=input_size, skeleton=skeleton
        )
        if not pose_model.needs_boxes and detection_threshold is not None:
            pose_model.threshold = detection_threshold
        own = darknet_options(detector_cfg, detector_names, detector_weights)
        if own and detector in ("auto", None):
            detector = "yolov3"
        if detector == "auto":
            detector = DEFAULT_DETECTOR if pose_model.needs_boxes else None
        found = None
        if detector is not None:
            _check_needs_detector(pose_model)  # before anything is fetched
            thresholds = {"threshold": detection_threshold, "nms_threshold": nms_threshold}
            found = create_detector(detector, weights=detector_weights, **thresholds, **own)
        return cls(
            pose_model,
            found,
            decoder=decoder,
            flip_test=flip_test,
            max_batch_size=max_batch_size,
            doubles=doubles,
            device=device,
            precision=precision,
            runtime=runtime,
        )

    @property
    def bottom_up(self) -> bool:
        """Whether the network finds people by itself."""
        return not self.pose_model.needs_boxes

    @property
    def pose_model(self) -> PoseModel:
        """The pose network on the first device."""
        return self._pose.first

    @property
    def detector(self) -> Detector | None:
        """The detector on the first device."""
        return None if self._detect is None else self._detect.first

    def __repr__(self) -> str:
        model = self.pose_model
        height, width = model.input_size
        without = "everybody at once" if self.bottom_up else "whole frame"
        by = without if self.detector is None else type(self.detector).__name__
        devices = ",".join(str(network.device) for network in self._pose.networks)
        return f"Pipeline({by} -> {model.describe()} at {height}x{width} on {devices})"

    @overload
    def __call__(self, source: ImageSource) -> Poses: ...  # type: ignore[overload-overlap]
    @overload
    def __call__(self, source: Sequence[ImageSource]) -> list[Poses]: ...
    def __call__(self, source: ImageSource | Sequence[ImageSource]) -> Poses | list[Poses]:
        """One picture (path, (H,W,3) BGR array, PIL image) -> its poses; a list, or (N,H,W,3), -> a list of them."""
        if isinstance(source, (list, tuple)) or getattr(source, "ndim", 0) == 4:
            return self.predict_batch(source)  # type: ignore[arg-type]
        return self.predict(source)  # type: ignore[arg-type]

    def predict(self, image: ImageSource, boxes: Boxes | None = None, return_heatmaps: bool = False) -> Poses:
        """The people in one picture.

        `boxes`, (N,4) xyxy in frame px or `Detections`, replace those of the detector, one person per box. A box may
        reach outside the frame, where everything is black, or lie outside entirely. Raises `ImageError` if `image` is
        not a picture, `BoxError` for boxes that are NaN, inverted or without area, or if the network takes no boxes.
        """
        return self.predict_batch([image], None if boxes is None else [boxes], return_heatmaps)[0]

    def predict_batch(
        self, images: Sequence[ImageSource], boxes: Sequence[Boxes] | None = None, return_heatmaps: bool = False
    ) -> list[Poses]:
        """The people in each picture; the same as `predict` one by one, and faster. Pictures may differ in size.

        Raises as `predict`, and `BoxError` if `boxes` has not one item per picture.
        """
        frames = _as_frames(images)
        if boxes is not None:
            given = _listed(boxes)
            if len(given) != len(frames):
                raise BoxError(f"{len(frames)} pictures but boxes for {len(given)}")
            return self._find_poses(frames, [_given(people) for people in given], return_heatmaps)
        if not self.pose_model.needs_boxes:
            return self._find_poses(frames, None, return_heatmaps)
        everybody = self._find_poses(frames, self._find_people(frames), return_heatmaps)
        return [without_doubles(poses, self.doubles) for poses in everybody]

    def detect(self, images: Sequence[ImageSource]) -> list[Detections]:
        """The people that the detector finds in each picture; without a detector, the whole frame.

        `predict_batch` takes them as `boxes`, unless the network takes none. Raises as `predict_batch`.
        """
        frames = _as_frames(images)
        if self.pose_model.needs_boxes:
            return self._find_people(frames)
        return [poses.detections for poses in self._find_poses(frames, None, False)]

    def stream(self, frames: Iterable[ImageSource], batch_size: int = 1) -> Iterator[Poses]:
        """The poses of each frame in turn, `batch_size` frames at a time; frames are read only when needed.

        Raises `HrkitError` for a single picture or a batch size below 1, and as `predict`.
        """
        check_whole("batch_size", batch_size)
        if isinstance(frames, (str, os.PathLike, np.ndarray)):
            raise HrkitError("stream takes an iterable of pictures; for one picture call predict")
        rest = iter(frames)
        batches = iter(lambda: list(itertools.islice(rest, batch_size)), [])
        return itertools.chain.from_iterable(map(self.predict_batch, batches))

    def video(
        self,
        source: FilePath | int,
        track: bool = True,
        smooth: bool | float = True,
        detect_every: int = 1,
        max_people: int | None = None,
    ) -> Iterator[tuple[Frame, Poses]]:
        """(H,W,3) BGR frame and people of every frame of a video, camera, stream or folder of pictures.

        `source` is as `video.open_source` takes it, the rest as `tracking.Follower`; `smooth` may be the strength. Of a
        camera or stream the newest frame comes next, of a file every one. Raises `VideoError` for what cannot be read,
        `ImageError` for a folder without pictures, `HrkitError` for smoothing without ids.
        """
        # PyAV and scipy load slowly
        from hrkit.tracking.follower import Follower, followed_frames
        from hrkit.video.cameras import open_source

        follower = Follower(
            self,
            track=track,
            smoothing=check_number("smooth", smooth),
            detect_every=detect_every,
            max_people=max_people,
            doubles=self.doubles,
        )
        opened = open_source(source)

        def frames() -> Iterator[tuple[Frame, Poses]]:
            with opened:
                for step in followed_frames(opened, follower):
                    yield from ((frame.image, poses) for frame, poses in step)

        return frames()

    def _find_people(self, frames: list[Frame]) -> list[Detections]:
        if self._detect is None:
            return [Detections.from_boxes([[0, 0, frame.shape[1], frame.shape[0]]]) for frame in frames]
        chunks = _chunks(frames, FRAMES_AT_ONCE, len(self._detect.networks))
        return [found for chunk in self._detect.run(_detect, chunks) for found in chunk]

    def _find_poses(self, frames: list[Frame], found: list[Detections] | None, return_heatmaps: bool) -> list[Poses]:
        """The poses in each frame, dealt to the devices in batches of people, or of frames if no boxes are `found`."""

        def poses(model: PoseModel, job: Job) -> list[Poses]:
            chosen = [frames[place] for place in job[0]]
            return model.poses(
                chosen, job[1], codec=self.codec, flip_test=self.flip_test, return_heatmaps=return_heatmaps
            )

        devices = len(self._pose.networks)
        if found is None:
            most = min(FRAMES_AT_ONCE, self.max_batch_size)
            jobs: list[Job] = [(places, None) for places in _chunks(list(range(len(frames))), most, devices)]
        else:
            people = sum(len(detections) for detections in found)
            jobs = _batches(found, min(self.max_batch_size, _share(people, devices)))
        parts: list[list[Poses]] = [[] for _ in frames]
        for (places, _), results in zip(jobs, self._pose.run(poses, jobs), strict=True):
            for place, part in zip(places, results, strict=True):
                parts[place].append(part)
        return [_joined(own) for own in parts]


def _joined(parts: list[Any]) -> Any:  # Any: poses, their detections, and the fields of both
    """The people of one frame, whose parts came from several batches."""
    first = parts[0]
    if len(parts) == 1 or first is None or isinstance(first, Skeleton):
        return first
    if isinstance(first, np.ndarray):
        return np.concatenate(parts)
    names = [field.name for field in attrs.fields(type(first))]
    return type(first)(**{name: _joined([getattr(part, name) for part in parts]) for name in names})


def _as_frames(images: Sequence[ImageSource]) -> list[Frame]:
    """Each picture as a frame; a picture given twice is read once."""
    stack = getattr(images, "ndim", 0) == 4
    if not stack and (not isinstance(images, Sequence) or isinstance(images, (str, bytes))):
        raise ImageError("a batch is a list of pictures or an array (N,H,W,3); for one picture there is predict")
    pictures, made = list(images), {}
    for picture in pictures:
        if id(picture) not in made:
            made[id(picture)] = as_frame(picture)
    return [made[id(picture)] for picture in pictures]


def _check_needs_detector(pose_model: PoseModel) -> None:
    if not pose_model.needs_boxes:
        raise HrkitError(f"{pose_model.describe()} finds people by itself; leave the detector out")


def _share(count: int, devices: int) -> int:
    """The share of each device when `count` is divided among them; at least 1."""
    return max(1, -(-count // devices))


def _chunks(items: list[Item], most: int, devices: int) -> list[list[Item]]:
    """The items in order, at most `most` at a time, shared out among the devices."""
    size = min(most, _share(len(items), devices))
    return [items[i : i + size] for i in range(0, len(items), size)]


def _detect(detector: Detector, frames: list[Frame]) -> list[Detections]:
    with section("detector"):
        found = detector.detect(frames)
    if len(found) != len(frames) or not all(isinstance(one, Detections) for one in found):
        raise PluginError(f"{type(detector).__name__}.detect must give one Detections for each of {len(frames)} frames")
    # a box without area holds no person
    return [one[np.flatnonzero((one.xyxy[:, 2:] > one.xyxy[:, :2]).all(1))] for one in found]


def _given(boxes: Boxes) -> Detections:
    found = boxes if isinstance(boxes, Detections) else Detections.from_boxes(boxes)
    check_boxes(found.xyxy, area=True)
    return found


def _listed(boxes: Iterable[Boxes]) -> list[Boxes]:
    """The boxes of each picture, from a list, a stack (N,M,4) or an iterator."""
    try:
        return list(boxes)
    except TypeError:
        raise BoxError(f"boxes must be a list with the boxes of each picture, not {type(boxes).__name__}") from None


def _batches(found: list[Detections], size: int) -> list[Job]:
    """The people of all frames in batches of `size`; a frame without people joins a neighbour's batch."""
    batches: dict[int, tuple[list[int], list[Detections]]] = {}
    before = 0  # people of earlier frames
    for place, people in enumerate(found):
        last = max(before, before + len(people) - 1)
        for batch in range(before // size, last // size + 1):
            places, boxes = batches.setdefault(batch, ([], []))
            start = batch * size - before
            places.append(place)
            boxes.append(people[max(0, start) : start + size])
        before += len(people)
    return list(batches.values())
