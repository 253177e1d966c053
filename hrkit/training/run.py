"""Training: `train` is the whole loop of data, forward, loss, backward, step, evaluate and save.

`_train` reads from top to bottom. The parts of a step are in `optimization`, losses and targets in `objective`, the
files of a run in `run_folder`.
"""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import logging
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import torch
from attrs import evolve, frozen
from torch import nn
from tqdm import tqdm

from hrkit.datasets.base import KeypointDataset, concatenate
from hrkit.datasets.loading import DatasetSpec, epoch_batches, epoch_rows, load_batches
from hrkit.errors import HrkitError
from hrkit.evaluation.coco import evaluate
from hrkit.evaluation.pck import pck_heatmaps
from hrkit.ops.tensors import of_each
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.runtimes.devices import parse_devices
from hrkit.runtimes.distributed import World, any_rank, gather_lists, joined_world
from hrkit.skeletons import check_flip_test
from hrkit.training.config import TrainConfig, config_to_dict, save_config
from hrkit.training.loggers import Callback, check_loggers, open_loggers
from hrkit.training.objective import objective_for, samples_for
from hrkit.training.optimization import (
    build_optimizer,
    distributed,
    forward,
    gradient_exchange,
    learning_rate_factor,
    training_mode,
    update_average,
)
from hrkit.training.preflight import check_evaluation, check_training
from hrkit.training.run_folder import (
    BEST,
    CONFIG,
    EXPORT,
    LAST,
    RunLog,
    RunState,
    Stateful,
    dataset_names,
    load_checkpoint,
    opened_run,
    save_checkpoint,
)
from hrkit.weights import catalogue

logger: logging.Logger = logging.getLogger("hrkit")


class TrainingStopped(KeyboardInterrupt):
    """A signal ended the run after a checkpoint was saved; `signal_number` says which signal."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number}; go on with --resume")
        self.signal_number = signal_number


class NonFiniteLossError(HrkitError):
    """The loss is infinite or NaN. The message names the step and the samples of the batch."""


@frozen
class TrainResult:
    """The outcome of a run."""

    steps: int
    epochs: int
    best: float | None
    """Best AP on the validation set; None without one."""
    folder: Path


def train(config: TrainConfig, callbacks: Sequence[Callback] = ()) -> TrainResult:
    """Trains as `config` says and writes everything into `config.output`.

    `callbacks` hear every line of the log, as `callback("train", step, {"loss": 0.1, ...})` or with "validation".

    The order of the samples, their augmentation and the random numbers of a step depend only on the seed and the
    position in the run. An interrupted run therefore continues (`resume`) to the same weights: bit by bit in float32,
    on the same machine with the same number of threads.

    Raises `HrkitError` for a config, data or weights that do not fit together, `NonFiniteLossError`,
    `TrainingStopped` after saving on SIGINT and SIGTERM, and `OSError` if a file cannot be written.
    """
    check_loggers(config.loggers)
    device = parse_devices(config.device)[0]
    with joined_world(device) as world:
        if device.type == "cuda" and world.size > 1:
            device = torch.device("cuda", world.local_rank)
        with opened_run(config) if world.is_first else contextlib.nullcontext():
            return _train(config, world, device, callbacks)


def _train(config: TrainConfig, world: World, device: torch.device, callbacks: Sequence[Callback]) -> TrainResult:
    # Data: the people to train on and, if named, the people to evaluate on.
    folder = Path(config.output)
    parts, weights, validation = load_people(config)
    people = concatenate(parts)

    # The network, its objective and its optimizer. `average` is the moving average of the weights (EMA).
    torch.manual_seed(config.seed)
    model = build_model(config, people).to(device)
    objective = objective_for(model, config, build_teacher(config, model))
    average = None if config.ema is None else copy.deepcopy(model).eval().requires_grad_(False)
    best_model = model if average is None else average
    optimizer = build_optimizer(config, model)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")

    # The length of the run. A dataset counts by its weight; samples that do not fill a step are left out.
    samples = samples_for(model, people, config.augmentation, config.seed)
    sizes = [len(samples_for(model, part)) for part in parts]
    rows = epoch_rows(sizes, weights, config.seed, epoch=0)
    samples_per_step = config.batch_size * world.size * config.accumulate
    steps_per_epoch = len(rows) // samples_per_step
    if steps_per_epoch == 0:
        raise HrkitError(f"{len(samples)} {samples.unit} do not fill a step of {samples_per_step}; lower batch_size")
    batches_per_epoch = steps_per_epoch * config.accumulate
    total_steps = int(min(config.epochs * steps_per_epoch, config.max_steps or math.inf))

    # A batch and a picture to try: what fails later fails now.
    check_training(config, model, objective, samples, epoch_batches(rows, 0, min(config.batch_size, 2), 0, 1)[0])
    if validation is not None:
        check_evaluation(config, best_model, validation)
    network = distributed(objective.network, world, device)

    # The position: the start, or that of the last checkpoint.
    learned: dict[str, Stateful] = {"model": model, "optimizer": optimizer, "scaler": scaler}
    if average is not None:
        learned["average"] = average
    state = load_checkpoint(folder / LAST, learned) if config.resume else RunState()
    state.see({"datasets": people, "validation": validation})
    state.finished &= state.step >= total_steps  # a resumed run may have got more epochs

    def save(name: str) -> None:
        if world.is_first:
            save_checkpoint(folder / name, state, learned, model.metadata)

    if world.is_first:
        save_config(evolve(config, resume=False), folder / CONFIG)
    if state.step == 0:
        save(LAST)  # a full disk shows now instead of hours later
    log = _opened_log(config, state, callbacks) if world.is_first else None
    bar = tqdm(total=total_steps, initial=state.step, unit="step", disable=not world.is_first, dynamic_ncols=True)

    with log or contextlib.nullcontext(), bar, _signals_caught() as signals:
        while not state.finished:
            # An epoch, or the rest of it after resuming.
            training_mode(config, model)
            rows = epoch_rows(sizes, weights, config.seed, state.epoch)
            batches = epoch_batches(rows, state.epoch, config.batch_size, world.rank, world.size)
            batches = batches[state.batch_of_epoch : batches_per_epoch]
            loader = load_batches(samples, batches, config.workers, pin=device.type == "cuda")
            started, first_step = time.perf_counter(), state.step

            while state.batch_of_epoch < batches_per_epoch and state.step < total_steps:
                # A step. Its random numbers depend on its number, so resuming needs no generator state.
                torch.manual_seed(hash((config.seed, state.step, world.rank)))
                rate_factor = learning_rate_factor(config, state.step, steps_per_epoch, total_steps)
                for group in optimizer.param_groups:
                    group["lr"] = group["base_lr"] * rate_factor

                losses = []
                for part in range(config.accumulate):
                    batch = next(loader)
                    images, targets = objective.prepare(batch)
                    with gradient_exchange(network, enabled=part == config.accumulate - 1):
                        outputs = forward(config, network, images)
                        loss = objective.loss(outputs, targets)
                        scaler.scale(loss / config.accumulate).backward()
                    losses.append(loss.detach())

                if config.clip_norm:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                if average is not None and config.ema is not None:
                    update_average(average, model, config.ema, state.step + 1)

                step_loss = torch.stack(losses).mean().item()
                if any_rank(not math.isfinite(step_loss)):
                    what = samples.describe(batch["rows"].tolist())
                    advice = "lower learning_rate or add warmup_steps, and name another output"
                    raise NonFiniteLossError(f"the loss is {step_loss} at step {state.step}; {advice}; {what}")
                state.step += 1
                state.batch_of_epoch += config.accumulate
                bar.update()

                if state.step % config.log_every == 0 or state.step == total_steps:
                    outputs = of_each(lambda one: one.detach().float(), outputs)
                    heatmaps, wanted = objective.heatmaps(outputs, targets)
                    mean_loss, pck = _means_over_ranks(step_loss, pck_heatmaps(heatmaps, wanted).mean)
                    speed = samples_per_step * (state.step - first_step) / (time.perf_counter() - started)
                    rate = optimizer.param_groups[0]["lr"]
                    if log is not None:
                        log.write("train", loss=mean_loss, pck=pck, learning_rate=rate, samples_per_second=speed)
                    best = "-" if state.best is None else f"{state.best:.3f}"
                    bar.set_postfix(loss=f"{mean_loss:.2e}", pck=f"{pck:.2f}", ap=best, refresh=False)

                stopped = any_rank(bool(signals))
                if stopped or (config.save_every is not None and state.step % config.save_every == 0):
                    save(LAST)
                if stopped:
                    raise TrainingStopped(signals[0] if signals else signal.SIGTERM)

            if state.batch_of_epoch == batches_per_epoch:
                state.epoch, state.batch_of_epoch = state.epoch + 1, 0
            state.finished = state.step >= total_steps

            # Evaluate, keep the best network, save. Without validation data the last network is the best.
            improved = validation is None and state.finished
            if validation is not None and (state.finished or state.epoch % config.evaluate_every == 0):
                metrics = evaluate(
                    best_model,
                    validation,
                    flip_test=config.flip_test,
                    batch_size=config.batch_size,
                    workers=config.workers,
                    progress=False,
                ).metrics
                if log is not None:
                    log.write("validation", **metrics)
                improved = metrics["AP"] >= 0 and (state.best is None or metrics["AP"] > state.best)
                state.best = metrics["AP"] if improved else state.best
            if improved:
                save(BEST)
            if improved and world.is_first:
                place = {"AP": state.best, "step": state.step, "epoch": state.epoch}
                best_model.save(folder / EXPORT, training={**place, "datasets": dataset_names(config)})
            save(LAST)
    return TrainResult(state.step, state.epoch, state.best, folder)


def _opened_log(config: TrainConfig, state: RunState, callbacks: Sequence[Callback]) -> RunLog:
    """The log of a run with its loggers; TensorBoard is one of them if it is wanted and installed."""
    board = ["tensorboard"] if config.tensorboard and importlib.util.find_spec("tensorboard") is not None else []
    folder, settings = Path(config.output), config_to_dict(config)
    return RunLog(folder, state, [*open_loggers([*board, *config.loggers], folder, settings, state.step), *callbacks])


def load_people(config: TrainConfig) -> tuple[list[KeypointDataset], list[float], KeypointDataset | None]:
    """The datasets of a run with their weights, and its validation data with the joints of the first."""
    specs = [DatasetSpec.parse(text) for text in config.datasets]
    options = {"images": config.images, "category": config.category, "skip_bad": config.skip_bad}
    parts = [spec.load("train", **options) for spec in specs]
    validation = None
    if config.validation is not None:
        validation = DatasetSpec.parse(config.validation).load("val", **options).with_skeleton(parts[0].skeleton)
        both = set(validation.image_paths) & {path for part in parts for path in part.image_paths}
        if both:
            logger.warning("%d pictures are in both training and validation, so figures say little", len(both))
    return parts, [spec.weight for spec in specs], validation


def build_model(config: TrainConfig, people: KeypointDataset) -> PoseModel:
    """The network of a run as it is before the first step, with the joints of its dataset.

    If `config.weights` have other joints, joints of the same name start from theirs.
    """
    evaluates_mirrored = config.flip_test and config.validation is not None
    learns_mirrored = config.teacher_flip_test and config.teacher is not None
    if config.augmentation.flip > 0 or evaluates_mirrored or learns_mirrored:
        check_flip_test(people.skeleton)
    backbone_weights = config.backbone_weights
    if backbone_weights == "auto":
        published = bool(catalogue.entries(config.backbone, "backbone"))
        if not published and config.weights is None and not config.backbone_options:
            trained = [f"--weights {entry.name}" for entry in catalogue.entries(config.backbone, "pose")]
            hint = f" ({' or '.join(trained[:2])} starts from a trained network)" if trained else ""
            logger.warning("training of %s starts from random weights%s", config.backbone, hint)
        backbone_weights = "auto" if published and config.weights is None else None
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
        other_joints=True,
    )
    if config.precision == "float64":
        model = model.double()
    return model.to(memory_format=torch.channels_last) if config.channels_last else model


def build_teacher(config: TrainConfig, model: PoseModel) -> PoseModel | None:
    """The teacher of a run on the device of `model`, or None if the config names no teacher.

    Raises `HrkitError` if its joints, crops or heatmaps differ from those of `model`.
    """
    if config.teacher is None:
        return None
    teacher = create_pose_model(config.teacher, weights=config.teacher_weights, num_joints=None, input_size=None)
    if not teacher.needs_boxes:
        raise HrkitError(f"the teacher {config.teacher!r} sees whole pictures, not crops of people")
    for what, own, theirs in (
        ("joints", model.skeleton.keypoint_names, teacher.skeleton.keypoint_names),
        ("input size", model.input_size, teacher.input_size),
        ("sigma", model.spec.sigma, teacher.spec.sigma),
        ("kind of crops", model.create_codec().udp, teacher.create_codec().udp),
    ):
        if own != theirs:
            raise HrkitError(f"the teacher {config.teacher!r} has another {what}: {theirs}, not {own}")
    return teacher.to(model.device).to(memory_format=torch.channels_last).requires_grad_(False)


def _means_over_ranks(*values: float) -> list[float]:
    everyone = gather_lists([values])
    return [sum(column) / len(everyone) for column in zip(*everyone, strict=True)]


@contextlib.contextmanager
def _signals_caught() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of letting them end the process. A second signal ends it as usual."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield caught
        return

    def note(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, note)
        yield caught
    finally:
        restore()
