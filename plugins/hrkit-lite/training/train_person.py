"""Trains the person network further, from weights that exist already: how `lite_person.safetensors` was made.

    python find_unlabelled.py data/coco_train nanodet_g_person.safetensors unlabelled.json
    python train_person.py data/coco_train data/coco_val nanodet_g_person.safetensors runs/person \\
        --unlabelled unlabelled.json --bfloat16

The learning rate falls to 0 again and again, once per cycle, so that each cycle ends with usable weights (Loshchilov
and Hutter, SGDR, ICLR 2017). It is small, because the start was trained already and has no batch norm any more: 3e-4
in batches of 8, with twice as many mosaics of small people, made AP fall from 0.51 to 0.47 within 500 steps.

Stopped at any time, the same command goes on with the run. The run folder holds `log.jsonl`, the state of the run, and
`average.safetensors`: the exponential average of the weights, which is evaluated, and kept after each cycle.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from hrkit_lite.person_detector import PersonDetector, load_weights, normalise
from hrkit_lite.person_network import PersonNetwork, cell_centers
from person_loss import person_loss
from person_metrics import judge
from person_samples import Photo, draw_picture, read_photos
from torch import Tensor

from hrkit.files import atomic_path
from hrkit.runtimes.allocator import keep_freed_memory

SIZES = ((320, 416), (320, 416), (416, 320), (416, 416))
"""(height, width) of a batch's pictures, drawn anew for each batch: landscape, portrait, and square."""
FROZEN = ("stem.", "stages.0.", "stages.1.")
"""What sees no more than edges stays as it is, which saves time."""
WARM_UP = 50
"""Steps over which the learning rate rises."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", type=Path, help="folder in COCO's format")
    parser.add_argument("validation", type=Path, help="folder in COCO's format")
    parser.add_argument("start", type=Path, help="weights to start from")
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--unlabelled", type=Path, help="people without annotation: a file of find_unlabelled.py")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--cycle", type=int, default=600, help="steps over which the learning rate falls to 0")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--average", type=float, default=0.99, help="decay of the exponential average")
    parser.add_argument("--bfloat16", action="store_true", help="faster on some processors, slower on others")
    parser.add_argument("--stop-at", type=int, help="step at which to stop, to go on later")
    parser.add_argument("--save-every", type=int, default=50, help="steps")
    train(parser.parse_args())


def train(arguments: argparse.Namespace) -> None:
    """Trains, and writes everything into the run folder."""
    keep_freed_memory()
    photos, validation = read_photos(arguments.train, arguments.unlabelled), read_photos(arguments.validation)
    network = PersonNetwork()
    load_weights(network, arguments.start)
    network = network.to(memory_format=torch.channels_last).train()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
    average = copy.deepcopy(network).eval()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=1e-4)

    arguments.run.mkdir(parents=True, exist_ok=True)
    state_file, step = arguments.run / "state.pt", 0
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    started, sums = time.perf_counter(), {}
    while step < (arguments.steps if arguments.stop_at is None else arguments.stop_at):
        for group in optimizer.param_groups:
            group["lr"] = arguments.learning_rate * rate_factor(step, arguments.cycle)
        pixels, people, either = draw_batch(photos, step, arguments.batch_size)
        centers, strides = cell_centers((pixels.shape[1], pixels.shape[2]))
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bfloat16):
            outputs = network(normalise(pixels).contiguous(memory_format=torch.channels_last))
        losses = person_loss(outputs.float(), centers, strides, people, either)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        norm = torch.nn.utils.clip_grad_norm_(trained, 10.0)
        optimizer.step()
        step += 1
        follow(average, network, min(arguments.average, (1 + step) / (10 + step)))

        for name, value in {**losses, "gradient": norm}.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach()) / arguments.save_every
        if step % arguments.save_every == 0 or step == arguments.steps:
            speed = arguments.save_every * arguments.batch_size / (time.perf_counter() - started)
            log(arguments.run, {"step": step, "samples_per_second": speed, **sums})
            save(arguments.run, network, average, optimizer, step)
            started, sums = time.perf_counter(), {}
        if step % arguments.cycle == 0 or step == arguments.steps:
            log(arguments.run, {"step": step, **evaluate(average, validation)})
            save_average(arguments.run / f"cycle_{step}.safetensors", average)
            started = time.perf_counter()


def rate_factor(step: int, cycle: int) -> float:
    """What the learning rate is multiplied with: within each cycle it rises for `WARM_UP` steps, and falls to 0."""
    place = step % cycle
    return min(1, (place + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * place / cycle))


def draw_batch(photos: list[Photo], step: int, batch_size: int) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Pixels (N,H,W,3) uint8, and boxes (M,4) per picture of people and of either: those of a step.

    They follow from the step alone, so a run that was stopped goes on as if it had not been.
    """
    random = np.random.default_rng([0, step])
    size = SIZES[random.integers(len(SIZES))]
    pictures = []
    for place in range(step * batch_size, (step + 1) * batch_size):
        epoch, row = divmod(place, len(photos))
        index = int(np.random.default_rng([1, epoch]).permutation(len(photos))[row])
        pictures.append(draw_picture(photos[index], size, random))
    pixels = torch.from_numpy(np.stack([picture.pixels for picture in pictures]))
    people = [torch.from_numpy(picture.people) for picture in pictures]
    return pixels, people, [torch.from_numpy(picture.either) for picture in pictures]


@torch.no_grad()
def follow(average: PersonNetwork, network: PersonNetwork, decay: float) -> None:
    """Moves the exponential average towards the network."""
    for mean, value in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def evaluate(network: PersonNetwork, photos: list[Photo]) -> dict[str, float]:
    """Person AP, AP at IoU 0.5, and recall with 5 and 3 boxes per photo on average."""
    detector = PersonDetector(copy.deepcopy(network), threshold=0.02).prepared(torch.device("cpu"), "float32")
    judged = judge(detector.detect, photos)
    precisions = judged.average_precision()
    return {
        "AP": float(precisions.mean()),
        "AP50": float(precisions[0]),
        "recall_5": judged.recall(5),
        "recall_3": judged.recall(3),
    }


def save(
    run: Path, network: PersonNetwork, average: PersonNetwork, optimizer: torch.optim.Optimizer, step: int
) -> None:
    """The state of the run, and the averaged weights in float16."""
    parts = {"network": network, "average": average, "optimizer": optimizer}
    state = {name: part.state_dict() for name, part in parts.items()}
    with atomic_path(run / "state.pt") as temporary:
        torch.save({**state, "step": step}, temporary)
    save_average(run / "average.safetensors", average)


def save_average(path: Path, average: PersonNetwork) -> None:
    """The weights in float16."""
    with atomic_path(path) as temporary:
        stored = {name: value.half().contiguous() for name, value in average.state_dict().items()}
        safetensors.torch.save_file(stored, temporary)


def log(run: Path, values: dict[str, float]) -> None:
    """One line of `log.jsonl`, which is printed too."""
    line = json.dumps({name: round(value, 5) for name, value in values.items()})
    print(line, flush=True)
    with (run / "log.jsonl").open("a") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
