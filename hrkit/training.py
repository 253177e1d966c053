"""Training, read from top to bottom: the official recipe, resumable to the bit, on one device or many."""

from __future__ import annotations

import contextlib
import copy
import math
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import nn
from tqdm import tqdm

from hrkit import zoo
from hrkit.config import TrainConfig
from hrkit.datasets.base import KeypointDataset, concatenate
from hrkit.datasets.transforms import PersonCrops
from hrkit.devices import parse_devices
from hrkit.distributed import World, any_rank, joined_world
from hrkit.errors import HrkitError
from hrkit.evaluation import evaluate
from hrkit.heads.codecs import Codec
from hrkit.heads.losses import get_loss
from hrkit.loading import Batch, DatasetSpec, epoch_batches, epoch_rows, load_batches
from hrkit.metrics import pck_heatmaps
from hrkit.pose_model import PoseModel, create_pose_model
from hrkit.runs import BEST, EXPORT, LAST, RunLog, load_state, open_run, save_state

AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


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
        return _train(config, world, device)


def _train(config: TrainConfig, world: World, device: torch.device) -> TrainResult:
    specs = [DatasetSpec.parse(text) for text in config.datasets]
    parts = [spec.load("train") for spec in specs]
    people = concatenate(parts)
    validation = None
    if config.validation is not None:
        validation = DatasetSpec.parse(config.validation).load("val").with_skeleton(people.skeleton)
    if world.is_first:
        open_run(config)

    torch.manual_seed(config.seed)
    model = build_model(config, people).to(device)
    codec = model.create_codec()
    loss_function = get_loss(config.loss)
    average = None if config.ema is None else copy.deepcopy(model).eval().requires_grad_(False)
    optimizer = build_optimizer(config, model)
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "float16")
    state = load_state(Path(config.output) / LAST) if config.resume else None
    epoch, batch_of_epoch, step, best = 0, 0, 0, None
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        if average is not None:
            average.load_state_dict(state["average"])
        epoch, batch_of_epoch, step, best = (state[k] for k in ("epoch", "batch_of_epoch", "step", "best"))

    network: nn.Module = _TrainedPart(model, config.loss)
    if world.size > 1:
        network = nn.parallel.DistributedDataParallel(network, [device.index] if device.type == "cuda" else None)
    crops = PersonCrops(people, config.input_size, codec.udp, config.augmentation, config.seed)
    joint_weights = _joint_weights(config, len(people.skeleton), device)
    steps_an_epoch = _batches_an_epoch(parts, specs, config, world) // config.accumulate
    if steps_an_epoch == 0:
        raise HrkitError(f"{len(people)} people fill no step of {config.batch_size * world.size * config.accumulate}")
    total = min(config.epochs * steps_an_epoch, config.max_steps or math.inf)
    log = RunLog(Path(config.output), step) if world.is_first else None
    board = _tensorboard(config, step) if world.is_first else None
    bar = tqdm(total=int(total), initial=step, unit="step", disable=not world.is_first, dynamic_ncols=True)

    def save() -> None:
        if not world.is_first:
            return
        content = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "epoch": epoch,
            "batch_of_epoch": batch_of_epoch,
            "step": step,
            "best": best,
        }
        if average is not None:
            content["average"] = average.state_dict()
        save_state(Path(config.output) / LAST, content)

    with signals_caught() as caught, bar:
        while epoch < config.epochs and step < total:
            rows = epoch_rows([len(part) for part in parts], [spec.weight for spec in specs], config.seed, epoch)
            batches = epoch_batches(rows, epoch, config.batch_size, world.rank, world.size)
            batches = batches[: steps_an_epoch * config.accumulate][batch_of_epoch:]
            loader = load_batches(crops, batches, config.workers, pin=device.type == "cuda")
            _training_mode(model, config)
            started, seen = time.perf_counter(), 0
            while batch_of_epoch < steps_an_epoch * config.accumulate and step < total:
                # drawn anew at every step, so that a resumed run needs no state of the generator
                torch.manual_seed(hash((config.seed, step, world.rank)))
                for group in optimizer.param_groups:
                    group["lr"] = group["base_lr"] * learning_rate_factor(config, step, steps_an_epoch, int(total))
                losses, heatmaps, targets = [], None, None
                for part in range(config.accumulate):
                    batch = next(loader)
                    images, targets, weights = prepare(model, codec, batch, joint_weights, config)
                    last = part == config.accumulate - 1
                    with _no_sync(network, not last), _autocast(config, device):
                        heatmaps = network(images)
                    with _no_sync(network, not last):
                        loss = loss_function(heatmaps.float() if scaler.is_enabled() else heatmaps, targets, weights)
                        scaler.scale(loss / config.accumulate).backward()
                    losses.append(loss.detach())
                    batch_of_epoch += 1
                    seen += len(images) * world.size
                mean_loss = torch.stack(losses).mean().item()
                if any_rank(not math.isfinite(mean_loss)):
                    ids = people.ids[batch["rows"].numpy()].tolist()
                    raise NonFiniteLossError(f"the loss is {mean_loss} at step {step}; annotations of the batch: {ids}")
                if config.clip_norm is not None:
                    scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad(set_to_none=True)
                step += 1
                if average is not None:
                    update_average(average, model, config.ema or 0.0, step)
                bar.update()
                if log is not None and (step % config.log_every == 0 or step == total):
                    assert heatmaps is not None
                    assert targets is not None
                    shown = heatmaps.detach().float().sigmoid() if config.loss == "bce" else heatmaps.detach().float()
                    accuracy = pck_heatmaps(shown, targets).mean
                    elapsed = time.perf_counter() - started
                    values = {
                        "loss": mean_loss,
                        "pck": accuracy,
                        "learning_rate": optimizer.param_groups[0]["lr"],
                        "samples_per_second": seen / elapsed,
                    }
                    log.write({"step": step, "epoch": epoch, **values})
                    _to_board(board, "train", values, step)
                    bar.set_postfix(loss=f"{mean_loss:.2e}", pck=f"{accuracy:.2f}", ap=_shown(best), refresh=False)
                stopped = any_rank(bool(caught))
                if stopped or (config.save_every is not None and step % config.save_every == 0):
                    save()
                if stopped:
                    raise TrainingStopped(caught[0] if caught else signal.SIGTERM)
            if batch_of_epoch >= steps_an_epoch * config.accumulate:
                epoch, batch_of_epoch = epoch + 1, 0
            finished = epoch == config.epochs or step == total
            judged = average if average is not None else model
            if validation is not None and (finished or (batch_of_epoch == 0 and epoch % config.evaluate_every == 0)):
                report = evaluate(
                    judged,
                    validation,
                    flip_test=config.flip_test,
                    batch_size=config.batch_size,
                    workers=config.workers,
                    progress=False,
                )
                value = report.metrics["AP"]
                if log is not None:
                    log.write({"step": step, "epoch": epoch, **report.metrics})
                _to_board(board, "validation", report.metrics, step)
                if best is None or value > best:
                    best = value
                    save()
                    if world.is_first:
                        _copy_best(config, judged, value, step, epoch)
            save()
    if world.is_first and (validation is None or not (Path(config.output) / EXPORT).is_file()):
        _copy_best(config, average if average is not None else model, best, step, epoch)
    if board is not None:
        board.close()
    return TrainResult(step, epoch, best, Path(config.output))


def build_model(config: TrainConfig, people: KeypointDataset) -> PoseModel:
    """The network of a run, with the joints of its dataset, as it is before the first step."""
    backbone_weights = config.backbone_weights
    if backbone_weights == "auto" and (config.weights is not None or not zoo.entries(config.backbone, "backbone")):
        backbone_weights = None
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


def build_optimizer(config: TrainConfig, model: PoseModel) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over what is trained; backbone and head are groups with a `base_lr` each.

    Raises `HrkitError` if everything is frozen, or a beginning in `frozen` fits no name.
    """
    for beginning in config.frozen:
        if not any(name.startswith(beginning) for name, _ in model.named_parameters()):
            raise HrkitError(f"no parameter's name begins with {beginning!r}, so it cannot be frozen")
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(config.frozen))
        if parameter.requires_grad:
            rate = config.learning_rate
            if name.startswith("head.") and config.head_learning_rate is not None:
                rate = config.head_learning_rate
            groups.setdefault(rate, []).append(parameter)
    if not groups:
        raise HrkitError("everything is frozen; nothing to train")
    settings: list[dict[str, Any]] = [{"params": parts, "lr": rate, "base_lr": rate} for rate, parts in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            settings, momentum=config.momentum, weight_decay=config.weight_decay, nesterov=config.nesterov
        )
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(settings, weight_decay=config.weight_decay)


def learning_rate_factor(config: TrainConfig, step: int, steps_an_epoch: int, total: int) -> float:
    """What the base learning rate is multiplied with at a step: a function of the step alone, so resuming is easy."""
    warm = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * step / total))
    return warm * 0.1 ** sum(step >= milestone * steps_an_epoch for milestone in config.milestones)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves the exponential average towards the model's weights; slower from the start on, so it forgets the first."""
    keep = min(decay, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


def prepare(
    model: PoseModel, codec: Codec, batch: Batch, joint_weights: torch.Tensor | None, config: TrainConfig
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images (N,3,H,W), targets (N,K,h,w) and weights (N,K) on the model's device."""
    images = model.normalise(batch["crops"])
    if config.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    keypoints, visible = (batch[name].to(images.device, non_blocking=True) for name in ("keypoints", "visible"))
    targets, weights = codec.encode(keypoints, visible)
    if joint_weights is not None:
        weights = weights * joint_weights
    return images, targets.to(images.dtype), weights.to(images.dtype)


@contextlib.contextmanager
def signals_caught() -> Iterator[list[int]]:
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


class _TrainedPart(nn.Module):
    """What the loss sees of a pose model: heatmaps, or logits for `bce`."""

    def __init__(self, model: PoseModel, loss: str) -> None:
        super().__init__()
        self.model = model
        self.wants_logits = loss == "bce"
        if self.wants_logits and not hasattr(model.head, "logits"):
            raise HrkitError(f"loss 'bce' needs a head with logits, which {model.names[1]!r} has not; take loss='mse'")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.wants_logits:
            return self.model.head.logits(self.model.backbone(images))  # type: ignore[operator]
        return self.model(images)


def _training_mode(model: PoseModel, config: TrainConfig) -> None:
    model.train()
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            config.freeze_batch_norm or f"{name}.".startswith(config.frozen)
        ):
            module.eval()


def _joint_weights(config: TrainConfig, joints: int, device: torch.device) -> torch.Tensor | None:
    if config.joint_weights is None:
        return None
    if len(config.joint_weights) != joints:
        raise HrkitError(f"joint_weights has {len(config.joint_weights)} values for {joints} joints")
    return torch.tensor(config.joint_weights, device=device)


def _batches_an_epoch(
    parts: list[KeypointDataset], specs: list[DatasetSpec], config: TrainConfig, world: World
) -> int:
    seen = sum(round(spec.weight * len(part)) for part, spec in zip(parts, specs, strict=True))
    return seen // (config.batch_size * world.size)


def _autocast(config: TrainConfig, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    dtype = AUTOCAST.get(config.precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def _no_sync(network: nn.Module, skip: bool) -> contextlib.AbstractContextManager[Any]:
    if skip and isinstance(network, nn.parallel.DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()


def _copy_best(config: TrainConfig, model: PoseModel, ap: float | None, step: int, epoch: int) -> None:
    folder = Path(config.output)
    last = load_state(folder / LAST)
    if last is not None:
        save_state(folder / BEST, last)
    model.save(folder / EXPORT, training={"AP": ap, "step": step, "epoch": epoch, "datasets": list(config.datasets)})


def _tensorboard(config: TrainConfig, step: int) -> Any:
    if not config.tensorboard:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(Path(config.output) / "tensorboard", purge_step=step)


def _to_board(board: Any, group: str, values: dict[str, float], step: int) -> None:
    if board is not None:
        for name, value in values.items():
            board.add_scalar(f"{group}/{name}", value, step)


def _shown(best: float | None) -> str:
    return "-" if best is None else f"{best:.3f}"


