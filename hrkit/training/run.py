"""Training, read from top to bottom: the official recipe, resumable to the bit, on one device or many."""

from __future__ import annotations

import contextlib
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import torch
from attrs import define, frozen
from tqdm import tqdm

from hrkit.bottom_up import BottomUpModel
from hrkit.datasets.base import KeypointDataset, concatenate
from hrkit.datasets.loading import DatasetSpec, epoch_batches, epoch_rows, load_batches
from hrkit.distributed import World, any_rank, gather_lists, joined_world
from hrkit.errors import HrkitError
from hrkit.evaluation.coco import evaluate
from hrkit.evaluation.pck import pck_heatmaps
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.runtimes.devices import parse_devices
from hrkit.training.config import TrainConfig
from hrkit.training.learner import Learner, learning_rate_factor
from hrkit.training.objective import samples_for
from hrkit.training.run_folder import BEST, EXPORT, LAST, RunLog, load_state, open_run, save_state
from hrkit.weights import catalogue

logger = logging.getLogger("hrkit")


class TrainingStopped(KeyboardInterrupt):
    """A signal ended the run after a checkpoint; `signal_number` says which."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}; go on with --resume")
        self.signal_number = signal_number


class NonFiniteLossError(HrkitError):
    """The loss is no number; names the step and the people of the batch."""


@frozen
class TrainResult:
    """What a run came to."""

    steps: int
    epochs: int
    best: float | None
    """Best AP on the validation set, where there is one."""
    folder: Path


def train(config: TrainConfig) -> TrainResult:
    """Trains as `config` says and keeps everything in `config.output`.

    Each sample's augmentation, the order of an epoch and the random numbers of a step follow from the seed and where
    the run stands, so a run that was interrupted anywhere goes on to the same weights (`resume`), to the bit on the
    same machine with the same number of threads in float32.

    Raises `HrkitError` for a config, data or weights that make no run, `NonFiniteLossError`, `TrainingStopped` on
    SIGINT and SIGTERM after saving, `OSError` if nothing can be saved.
    """
    device = parse_devices(config.device)[0]
    with joined_world(device) as world:
        if device.type == "cuda" and world.size > 1:
            device = torch.device("cuda", world.local_rank)
        return _Run(config, world, device).go()


@define
class _Place:
    """Where a run stands."""

    epoch: int = 0
    batch_of_epoch: int = 0
    step: int = 0
    best: float | None = None
    """AP."""
    log_lines: int = 0
    """That were written."""
    finished: bool = False
    """Whether the last evaluation is behind it."""


class _Run:
    """A run: data, learner, and where it stands; `go` goes to its end."""

    def __init__(self, config: TrainConfig, world: World, device: torch.device) -> None:
        self.config, self.world, self.folder = config, world, Path(config.output)
        self.specs = [DatasetSpec.parse(text) for text in config.datasets]
        self.parts = [spec.load("train") for spec in self.specs]
        self.people = concatenate(self.parts)
        self.validation = None
        if config.validation is not None:
            self.validation = DatasetSpec.parse(config.validation).load("val").with_skeleton(self.people.skeleton)
        if world.is_first:
            open_run(config)

        torch.manual_seed(config.seed)
        model = build_model(config, self.people).to(device)
        self.learner = Learner(config, model, world, build_teacher(config, model))
        self.samples = samples_for(model, self.people, config.augmentation, config.seed)
        self.sizes = [len(samples_for(model, part)) for part in self.parts]
        self.steps_an_epoch = self._batches_an_epoch() // config.accumulate
        if self.steps_an_epoch == 0:
            together = config.batch_size * world.size * config.accumulate
            raise HrkitError(f"{len(self.samples)} {self.samples.unit} fill no step of {together}")
        self.total = int(min(config.epochs * self.steps_an_epoch, config.max_steps or math.inf))
        self.place = _Place()
        state = load_state(self.folder / LAST) if config.resume else None
        if state is None:
            self._save()  # a full disk, or a folder that takes no files, shows now and not in hours
        else:
            self.learner.load_state_dict(state)
            self.place = _Place(**{name: state[name] for name in attrs.fields_dict(_Place)})
            self.place.finished &= self.place.step >= self.total  # it may have got more epochs
        self.log = (
            RunLog(self.folder, self.place.log_lines, self.place.step, config.tensorboard) if world.is_first else None
        )
        self.bar = tqdm(
            total=self.total, initial=self.place.step, unit="step", disable=not world.is_first, dynamic_ncols=True
        )

    def go(self) -> TrainResult:
        """Trains, evaluates and saves until all is done."""
        place, log = self.place, contextlib.nullcontext() if self.log is None else self.log
        with log, self.bar, _signals_caught() as caught:
            while not place.finished:
                self._epoch(caught)
                if place.batch_of_epoch == self._batches_wanted():
                    place.epoch, place.batch_of_epoch = place.epoch + 1, 0
                place.finished = place.step >= self.total
                if place.finished or place.epoch % self.config.evaluate_every == 0:
                    self._evaluate()
                self._save()
        if self.validation is None:
            self._keep_best()
        return TrainResult(place.step, place.epoch, place.best, self.folder)

    def _batches_an_epoch(self) -> int:
        seen = sum(round(spec.weight * size) for size, spec in zip(self.sizes, self.specs, strict=True))
        return seen // (self.config.batch_size * self.world.size)

    def _batches_wanted(self) -> int:
        """Of an epoch; the rest would fill no step."""
        return self.steps_an_epoch * self.config.accumulate

    def _epoch(self, caught: list[int]) -> None:
        """The steps of an epoch from where the run stands."""
        config, place, world = self.config, self.place, self.world
        rows = epoch_rows(self.sizes, [spec.weight for spec in self.specs], config.seed, place.epoch)
        batches = epoch_batches(rows, place.epoch, config.batch_size, world.rank, world.size)
        batches = batches[place.batch_of_epoch : self._batches_wanted()]
        loader = load_batches(self.samples, batches, config.workers, pin=self.learner.model.device.type == "cuda")
        self.learner.start_epoch()
        started, first = time.perf_counter(), place.step
        while place.batch_of_epoch < self._batches_wanted() and place.step < self.total:
            # drawn anew at every step, so that a resumed run needs no state of the generator
            torch.manual_seed(hash((config.seed, place.step, world.rank)))
            factor = learning_rate_factor(config, place.step, self.steps_an_epoch, self.total)
            learned = self.learner.step(loader, place.step, factor)
            if any_rank(not math.isfinite(learned.loss)):
                what = self.samples.describe(learned.rows.tolist())
                raise NonFiniteLossError(f"the loss is {learned.loss} at step {place.step}; {what}")
            place.step += 1
            place.batch_of_epoch += config.accumulate
            self.bar.update()
            if place.step % config.log_every == 0 or place.step == self.total:
                seen = (place.step - first) * config.accumulate * config.batch_size * world.size
                pairs = gather_lists([(learned.loss, pck_heatmaps(learned.heatmaps, learned.targets).mean)])
                loss, pck = (sum(values) / world.size for values in zip(*pairs, strict=True))
                self._note(
                    "train",
                    {
                        "loss": loss,
                        "pck": pck,
                        "learning_rate": self.learner.optimizer.param_groups[0]["lr"],
                        "samples_per_second": seen / (time.perf_counter() - started),
                    },
                )
                best = "-" if place.best is None else f"{place.best:.3f}"
                self.bar.set_postfix(loss=f"{loss:.2e}", pck=f"{pck:.2f}", ap=best, refresh=False)
            stopped = any_rank(bool(caught))
            if stopped or (config.save_every is not None and place.step % config.save_every == 0):
                self._save()
            if stopped:
                raise TrainingStopped(caught[0] if caught else signal.SIGTERM)

    def _evaluate(self) -> None:
        if self.validation is None:
            return
        report = evaluate(
            self.learner.best_model,
            self.validation,
            flip_test=self.config.flip_test,
            batch_size=self.config.batch_size,
            workers=self.config.workers,
            progress=False,
        )
        self._note("validation", report.metrics)
        if self.place.best is None or report.metrics["AP"] > self.place.best:
            self.place.best = report.metrics["AP"]
            self._keep_best()

    def _note(self, group: str, values: dict[str, float]) -> None:
        if self.log is not None:
            self.log.write(group, self.place.step, self.place.epoch, values)
            self.place.log_lines = self.log.lines

    def _save(self, name: str = LAST) -> None:
        if self.world.is_first:
            save_state(self.folder / name, {**self.learner.state_dict(), **attrs.asdict(self.place)})

    def _keep_best(self) -> None:
        self._save(BEST)
        if self.world.is_first:
            place = self.place
            told = {"AP": place.best, "step": place.step, "epoch": place.epoch, "datasets": list(self.config.datasets)}
            self.learner.best_model.save(self.folder / EXPORT, training=told)


def build_model(config: TrainConfig, people: KeypointDataset) -> PoseModel:
    """The network of a run, with the joints of its dataset, as it is before the first step."""
    backbone_weights = config.backbone_weights
    if backbone_weights == "auto":
        known = bool(catalogue.entries(config.backbone, "backbone"))
        if not known and config.weights is None and not config.backbone_options:
            logger.warning("no weights to begin with are published for %s: it begins from chance", config.backbone)
        backbone_weights = "auto" if known and config.weights is None else None
    model = create_pose_model(
        config.backbone,
        weights=config.weights,
        head=config.head,
        num_joints=len(people.skeleton),
        input_size=config.input_size,
        codec=config.codec,
        sigma=config.sigma,
        skeleton=people.skeleton,
        backbone_weights=backbone_weights,
        backbone_options=config.backbone_options,
    )
    if config.precision == "float64":
        model = model.double()
    return model.to(memory_format=torch.channels_last) if config.channels_last else model


def build_teacher(config: TrainConfig, model: PoseModel) -> PoseModel | None:
    """The network that labels too, on the device of `model`; None if the config names none.

    Raises `HrkitError` if it has other joints, crops or heatmaps than `model`.
    """
    if config.teacher is None:
        return None
    teacher = create_pose_model(config.teacher, weights=config.teacher_weights, num_joints=None, input_size=None)
    if isinstance(teacher, BottomUpModel):
        raise HrkitError(f"the teacher {config.teacher!r} sees whole pictures, not people one by one")
    for what, own, theirs in (
        ("joints", model.skeleton.keypoint_names, teacher.skeleton.keypoint_names),
        ("input size", model.input_size, teacher.input_size),
        ("sigma", model.sigma, teacher.sigma),
        ("kind of crops", model.create_codec().udp, teacher.create_codec().udp),
    ):
        if own != theirs:
            raise HrkitError(f"the teacher {config.teacher!r} has another {what}: {theirs}, not {own}")
    return teacher.to(model.device).to(memory_format=torch.channels_last).requires_grad_(False)


@contextlib.contextmanager
def _signals_caught() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in the list instead of ending the process; a second one ends it as ever."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before: dict[int, Any] = {}
    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)

    def note(number: int, frame: Any) -> None:
        caught.append(number)
        for one, handler in before.items():
            signal.signal(one, handler)

    for number in numbers:
        before[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
