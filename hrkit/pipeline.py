"""From pictures to people with keypoints: a detector finds people, a pose network puts keypoints on each."""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import attrs
import numpy as np
from numpy.typing import ArrayLike

from hrkit.detectors.base import Detector, check_fraction
from hrkit.errors import BoxError, HrkitError, ImageError, PluginError, check_number, check_whole
from hrkit.files import FilePath
from hrkit.heads.base import Codec
from hrkit.images import ImageSource, as_frame
from hrkit.ops.doubles import SAME_POSE, at_least, without_doubles
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.profiling import section
from hrkit.registry import decoders, detectors
from hrkit.runtimes.batches import Job, batches, chunks, share
from hrkit.runtimes.devices import Replicas, parse_devices
from hrkit.runtimes.prepare import check_precision, check_runtime, prepared
from hrkit.skeletons import check_flip_test
from hrkit.structures import Detections, Frame, Poses, Size, Skeleton, check_boxes
from hrkit.weights import catalogue

Boxes = ArrayLike | Detections

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
    so takes no detector. `flip_test` averages with the mirrored crop, which is more accurate and takes twice the time.
    At most `max_batch_size` people go through the network at once. If two poses from the detector's boxes have an OKS
    above `doubles`, only the better one stays; None keeps both. `person_threshold` is the least of `Poses.scores` of
    the people in results, unless their boxes are given. `decoder` names a codec, by default the network's own. `device`
    is "auto", "cpu", "mps", "cuda:0" or several, as "cuda:0,1". Calls from several threads take turns on each device.
    `precision` is "float32", "bfloat16", "float16", "int8" (on CPUs), or "auto" for the fastest of the others that
    keeps keypoints within the documented bounds. `runtime` "auto" is the way that was measured to be the fastest on
    this CPU: "fused" (torch with fused layers), or "openvino" or "onnx" if those libraries are installed; "eager"
    leaves the layers as they are. "onnx:FILE" or "openvino:FILE" runs a pose network written by `hrkit export`.
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
        person_threshold: float = 0.0,
        device: str = "auto",
        precision: str = "auto",
        runtime: str = "auto",
    ) -> None:
        if isinstance(pose_model, str):
            raise HrkitError(f"a Pipeline takes networks; for names there is Pipeline.from_names({pose_model!r}, ...)")
        if detector is not None:
            _check_needs_detector(pose_model)
        devices = parse_devices(device)
        self.skeleton: Skeleton = pose_model.skeleton
        self.codec: Codec = pose_model.create_codec(decoder)
        if flip_test:
            check_flip_test(self.skeleton)
        self.flip_test = flip_test
        self.person_threshold: float = check_fraction("person_threshold", person_threshold)
        self._least_box = 0.0
        self.max_batch_size: int = check_whole("max_batch_size", max_batch_size)
        self.doubles: float | None = None if doubles is None else check_fraction("doubles", doubles)
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
        detector_size: int | Size | None = None,
        classes: str | Sequence[str | int] | None = None,
        head: str | None = None,
        decoder: str | None = None,
        input_size: int | Size | None = None,
        num_joints: int | None = None,
        skeleton: Skeleton | FilePath | None = None,
        flip_test: bool = False,
        max_batch_size: int = 32,
        detection_threshold: float | None = None,
        nms_threshold: float | None = None,
        doubles: float | None = SAME_POSE,
        person_threshold: float = 0.0,
        device: str = "auto",
        precision: str = "auto",
        runtime: str = "auto",
    ) -> Pipeline:
        """A pipeline from registered names, such as `Pipeline.from_names("hrnet_w48", "yolov3")`.

        `detector` "auto" is `lite_person` if the network needs a detector. A network of Darknet's of your own is
        `detector_cfg`, `detector_weights` and `detector_names`, a file of names or names. `weights` is "auto"
        (published weights, fetched once), a weights entry, a file, a run's folder, `hf-hub:owner/name[@revision]`, or
        None; a file, folder or address in the place of `backbone` stands for both. `input_size` and `detector_size`,
        the input of the detector, are (height, width) or the side of a square. `classes` are names or numbers of the
        detector's classes, by default people. `skeleton`, a known name or a TOML file, names the joints of weights that
        do not. `detection_threshold` is the least score of a detection, in the detector or in a network that finds
        people by itself; None, as for `nms_threshold`, is their own default. Raises `UnknownNameError`, `WeightsError`,
        `DownloadError` or `HrkitError`, each with a message that says what to do.
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
        sizes: dict[str, Any] = {"input_size": detector_size, "classes": classes}
        chosen = {name: value for name, value in sizes.items() if value is not None}
        if own and detector in ("auto", None):
            detector = "yolov3"
        if detector == "auto":
            detector = DEFAULT_DETECTOR if pose_model.needs_boxes else None
        found = None
        if detector is not None:
            _check_needs_detector(pose_model)  # before anything is fetched
            thresholds = {"threshold": detection_threshold, "nms_threshold": nms_threshold}
            found = create_detector(detector, weights=detector_weights, **thresholds, **own, **chosen)
        elif chosen:
            raise HrkitError(f"{' and '.join(chosen)} are settings of a detector, and there is none")
        return cls(
            pose_model,
            found,
            decoder=decoder,
            flip_test=flip_test,
            max_batch_size=max_batch_size,
            doubles=doubles,
            person_threshold=person_threshold,
            device=device,
            precision=precision,
            runtime=runtime,
        )

    def using(
        self,
        *,
        flip_test: bool | None = None,
        detection_threshold: float | None = None,
        person_threshold: float | None = None,
    ) -> Pipeline:
        """This pipeline with other settings, those that are not None. Both share their networks.

        Raises `HrkitError` for a `detection_threshold` below that of the detector, which drops such boxes by itself.
        """
        other = copy.copy(self)
        other.flip_test = self.flip_test if flip_test is None else flip_test
        if other.flip_test:
            check_flip_test(self.skeleton)
        if person_threshold is not None:
            other.person_threshold = check_fraction("person_threshold", person_threshold)
        if detection_threshold is not None:
            other._least_box = check_fraction("detection_threshold", detection_threshold)
            own = getattr(self.pose_model if self.bottom_up else self.detector, "threshold", 0.0)
            if detection_threshold < own:
                way = f"build it with detection_threshold={detection_threshold:g}"
                raise HrkitError(f"this pipeline was built with a detection threshold of {own:g}; {way}")
        return other

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
    def __call__(self, source: ImageSource, **settings: Any) -> Poses: ...
    @overload
    def __call__(self, source: Sequence[ImageSource], **settings: Any) -> list[Poses]: ...
    def __call__(self, source: ImageSource | Sequence[ImageSource], **settings: Any) -> Poses | list[Poses]:
        """One picture (path, (H,W,3) BGR array, PIL image) -> its poses; a list, or (N,H,W,3), -> a list of them.

        `settings` are those of `using`, for this call.
        """
        if settings:
            return self._set(settings)(source)
        if isinstance(source, (list, tuple)) or getattr(source, "ndim", 0) == 4:
            found = self.predict_batch(source)  # type: ignore[arg-type]
            return [poses.replace(image=image) for poses, image in zip(found, source, strict=True)]  # type: ignore[arg-type]
        return self.predict(source)  # type: ignore[arg-type]

    def predict(self, image: ImageSource, boxes: Boxes | None = None, return_heatmaps: bool = False) -> Poses:
        """The people in one picture.

        `boxes`, (N,4) xyxy in frame px or `Detections`, replace those of the detector, one person per box. A box may
        reach outside the frame, where everything is black, or lie outside entirely. Raises `ImageError` if `image` is
        not a picture, `BoxError` for boxes that are NaN, inverted or without area, or if the network takes no boxes.
        """
        found = self.predict_batch([image], None if boxes is None else [boxes], return_heatmaps)[0]
        return found.replace(image=image)

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
        if self.bottom_up:
            everybody = self._find_poses(frames, None, return_heatmaps)
            everybody = [poses[poses.detections.scores >= self._least_box] for poses in everybody]
        else:
            everybody = self._find_poses(frames, self._find_people(frames), return_heatmaps)
            everybody = [without_doubles(poses, self.doubles) for poses in everybody]
        return [at_least(poses, self.person_threshold) for poses in everybody]

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
        smooth: bool | float | None = None,
        detect_every: int = 1,
        max_people: int | None = None,
        **settings: Any,
    ) -> Iterator[tuple[Frame, Poses]]:
        """(H,W,3) BGR frame and people of every frame of a video, camera, stream or folder of pictures.

        The people know the `time` and the `frame_index` of their frame. `source` is as `video.open_source` takes it,
        the rest as `tracking.Follower`; `smooth` may be the strength, and None smooths if people are tracked.
        `settings` are those of `using`. Of a camera or stream the newest frame comes next, of a file every one. Raises
        `VideoError` for what cannot be read, `ImageError` for a folder without pictures, `HrkitError` for smoothing
        without ids.
        """
        # PyAV and scipy load slowly
        from hrkit.tracking.follower import Follower, followed_frames
        from hrkit.video.cameras import open_source

        follower = Follower(
            self._set(settings),
            track=track,
            smoothing=check_number("smooth", track if smooth is None else smooth),
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

    def _set(self, settings: dict[str, Any]) -> Pipeline:
        """This pipeline with settings given by a caller."""
        known = inspect.signature(self.using).parameters
        for name in settings.keys() - known.keys():
            hint = "; Pipeline.predict takes boxes" if name == "boxes" else ""
            raise HrkitError(f"no setting {name!r} for one call; there are {', '.join(known)}{hint}")
        return self.using(**settings) if settings else self

    def _find_people(self, frames: list[Frame]) -> list[Detections]:
        if self._detect is None:
            return [Detections.from_boxes([[0, 0, frame.shape[1], frame.shape[0]]]) for frame in frames]
        parts = chunks(frames, FRAMES_AT_ONCE, len(self._detect.networks))
        everybody = [found for part in self._detect.run(_detect, parts) for found in part]
        return [at_least(found, self._least_box) for found in everybody]

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
            jobs: list[Job] = [(places, None) for places in chunks(list(range(len(frames))), most, devices)]
        else:
            people = sum(len(detections) for detections in found)
            jobs = batches(found, min(self.max_batch_size, share(people, devices)))
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
