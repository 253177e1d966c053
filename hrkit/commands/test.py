"""`hrkit test`: a pose network measured on a dataset, with a report."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click
import torch
from attrs import evolve

from hrkit import registry
from hrkit.commands.model_options import NETWORKS, head_option, input_size_option
from hrkit.commands.numbers import PATH, number_option
from hrkit.commands.short_help import ShortHelp
from hrkit.datasets.base import KeypointDataset
from hrkit.datasets.loading import DatasetSpec
from hrkit.datasets.mpii import read_mpii_truth
from hrkit.errors import DatasetError, HrkitError, UnknownNameError
from hrkit.evaluation.coco import Evaluation, evaluate, evaluate_pckh
from hrkit.evaluation.detected_boxes import detect_people, read_detections
from hrkit.evaluation.ensemble import ensemble
from hrkit.evaluation.report import FILES, Subject, check_folder, outcome_shares, write_report
from hrkit.files import check_outputs
from hrkit.pipeline import create_detector, darknet_options
from hrkit.pose_model import PoseModel, create_pose_model, recorded_network
from hrkit.runtimes.devices import parse_devices
from hrkit.runtimes.distributed import World, current_world, joined_world
from hrkit.runtimes.prepare import INT8, check_precision
from hrkit.settings import Range
from hrkit.skeletons import check_flip_test, find_skeleton, mpii16, same_joints
from hrkit.weights import catalogue, checkpoints
from hrkit.weights.hub import is_address


@click.command(
    "test",
    cls=ShortHelp,
    epilog="""\b
Examples:
  hrkit test --backbone hrnet_w32 --dataset coco:data/coco --flip-test
  hrkit test --backbone lite --annotations people.json --images photos --boxes lite_person
  hrkit test --backbone hrnet_w32 --dataset coco:data/coco --boxes COCO_val2017_detections_AP_H_56_person.json
  hrkit test --backbone hrnet_w32 --weights hrnet_w32-mpii-256x256 --dataset mpii:data/mpii
  hrkit test --backbone hrnet_w32 --weights runs/mine/best.safetensors --dataset custom:mine.toml
  torchrun --nproc-per-node=4 -m hrkit test --backbone hrnet_w48 --dataset coco:data/coco

The report is a folder: report.md to read, report.json with all figures, predictions.json in COCO's results format,
curves.png and worst.jpg. The figure is PCKh for mpii and COCO's AP for any other dataset.""",
)
@click.option("--backbone", required=True, help="Pose network, as in `hrkit models`.")
@click.option(
    "--weights",
    multiple=True,
    default=("auto",),
    help="auto, an entry, a file, hf-hub:owner/name, none; the heatmaps of several are averaged.",
)
@head_option
@input_size_option
@NETWORKS["skeleton"]
@click.option("--dataset", default="coco", help="NAME[:PATH]: coco, mpii, custom, or a plugin's.")
@click.option("--split", default="val", help="Part of the dataset.")
@click.option("--annotations", help="JSON file in COCO's format, in place of the dataset's PATH.")
@click.option("--images", help="Folder or zip file of the pictures if they are not beside the annotations.")
@click.option("--category", multiple=True, help="Category to take.  [default: all with the joints of the first]")
@click.option("--skip-bad", is_flag=True, help="Leave out faulty annotations, detections and missing pictures.")
@click.option(
    "--boxes",
    default="gt",
    help="gt (annotated), a JSON file of COCO detections, or a registered detector, which is run on each picture.",
)
@number_option(
    "--box-threshold", float, Range(), "Lowest score of a box.  [default: 0 for files, the detector's own]"
)
@click.option("--detector-weights", default="auto", help="auto, an entry, a file, none.")
@NETWORKS["detector_cfg"]
@NETWORKS["detector_names"]
@click.option("--flip-test/--no-flip-test", help="Average with the mirrored crop: more accurate, twice the time.")
@NETWORKS["decoder"]
@click.option("--nms", type=click.Choice(["oks", "soft-oks", "none"]), default="oks")
@number_option(
    "--nms-threshold", float, Range(0, 1), "OKS above which two poses count as the same person.", default=0.9
)
@number_option(
    "--score-threshold",
    float,
    Range(),
    "A person's score is the box's times the mean of the joints above this.",
    default=0.2,
)
@number_option("--batch-size", int, Range(1), "People per forward pass.", default=32)
@number_option("--workers", int, Range(0), "Processes that load crops.", default=2)
@click.option("--device", default="auto", help="cpu, cuda:0, mps.")
@click.option("--precision", default="float32", help="float32, float16, bfloat16, int8; auto: the fastest here.")
@click.option("-o", "--output", type=PATH, default=Path("test-output"))
@click.option("--overwrite", is_flag=True, help="Replace a report that is in the folder.")
def command(
    backbone: str,
    weights: tuple[str, ...],
    head: str | None,
    input_size: tuple[int, int] | None,
    skeleton: str | None,
    dataset: str,
    split: str,
    annotations: str | None,
    images: str | None,
    category: tuple[str, ...],
    device: str,
    precision: str,
    output: Path,
    overwrite: bool,
    **how: Any,  # the options that the report records as they are
) -> None:
    """Measures a pose network on a dataset: AP as COCO does, or MPII's PCKh, with a report.

    Run it under torchrun for several devices. They share the pictures and write one report.
    """
    check_precision(precision)
    with joined_world(torch.device("cpu")) as world:  # ranks exchange their results on the CPU
        if world.is_first:
            check_folder(output, overwrite)
        own_device = _device(device, world)
        spec = _spec(dataset, annotations)
        _check_boxes(how["boxes"], spec.name)
        annotated = spec.load(split, images=images, category=category, skip_bad=how["skip_bad"])
        files = (spec.path, annotated.annotations, images, *weights, how["boxes"], how["detector_weights"])
        check_outputs([output, *(output / name for name in FILES)], [*files, *annotated.image_paths])
        networks, names = [], []
        for one in weights:
            model, taken, annotated = _model(backbone, one, head, input_size, skeleton, annotated)
            networks.append(model)
            names.append(taken)
        if how["flip_test"]:
            check_flip_test(model.skeleton)
        model.create_codec(how["decoder"])  # finds a wrong name before anything runs
        fast = ensemble([network.prepared(own_device, precision) for network in networks])
        if world.is_first:
            output.mkdir(parents=True, exist_ok=True)  # fails before anything runs
        if not model.needs_boxes:
            _check_own_boxes(model, how["boxes"], spec.name)
            how |= {"boxes": "own", "nms": "none"}
            boxed, in_words = annotated, "found by the network itself"
        else:
            boxed, in_words = _boxes(annotated, own_device, how)
        _say(f"{annotated}, boxes: {in_words}; weights: {' + '.join(names)}")
        started = time.perf_counter()
        evaluation = _evaluate(fast, boxed, annotated, spec, split, how)
        settings = {
            "dataset": annotated.name,
            "annotations": None if annotated.annotations is None else str(annotated.annotations),
            "weights": " + ".join(names),
            **how,
            "decoder": how["decoder"] or model.spec.codec,
            "device": _device_name(own_device, world),
            "precision": precision if precision == INT8 else str(fast.dtype).removeprefix("torch."),
        }
        subject = Subject(
            model=model,
            annotated=annotated,
            boxed=evaluation.boxed,
            boxes_in_words=in_words,
            settings=settings,
            seconds=time.perf_counter() - started,
        )
        if world.is_first:
            _say_figures(write_report(output, subject, evaluation), output)


def _say(line: str) -> None:
    """Prints a line on the first rank."""
    if current_world().is_first:
        click.echo(line)


def _device(name: str, world: World) -> torch.device:
    """The device of this process. With several ranks on CUDA, each has its own."""
    devices = parse_devices(name)
    if len(devices) > 1:
        raise HrkitError(f"a test runs on one device, not on {name!r}; for several run it under torchrun")
    if devices[0].type == "cuda" and world.size > 1:
        devices = parse_devices(f"cuda:{world.local_rank}")
    return devices[0]


def _spec(dataset: str, annotations: str | None) -> DatasetSpec:
    spec = DatasetSpec.parse(dataset)
    if spec.weight != 1:
        raise click.UsageError(f"--dataset {dataset}: a weight is for training only")
    if annotations is not None and spec.path is not None:
        raise click.UsageError(f"--annotations {annotations} or --dataset {dataset}: name one place")
    return spec if annotations is None else evolve(spec, path=annotations)


def _model(
    backbone: str,
    weights: str,
    head: str | None,
    input_size: tuple[int, int] | None,
    skeleton: str | None,
    annotated: KeypointDataset,
) -> tuple[PoseModel, str, KeypointDataset]:
    """The network, the name or path of its weights, and the people with its joints, matched by name."""
    named = backbone if is_address(backbone) else weights
    backbone, found = recorded_network(backbone, weights)
    own = annotated.skeleton
    torch.manual_seed(0)  # all ranks have the same network, also without weights
    if weights == "none":
        model = create_pose_model(backbone, head=head, input_size=input_size, skeleton=skeleton or own)
        return model, "none", annotated.with_skeleton(model.skeleton)
    joints = find_skeleton(skeleton) if skeleton is not None else None
    published = {entry.num_joints for entry in catalogue.entries(backbone, "pose")}
    wanted = len(joints or own) if len(joints or own) in published else None
    selected = catalogue.select(backbone, found, num_joints=wanted, input_size=input_size)
    taken = selected.name if isinstance(selected, catalogue.WeightsEntry) else str(selected)
    if joints is None and isinstance(selected, Path):
        read = checkpoints.read_checkpoint(selected)
        if not read.names_joints and read.num_joints == len(own):
            joints = own
            _say(f"{selected} does not name its {len(own)} joints: taken as those of {annotated.name}; see --skeleton")
    model = create_pose_model(
        backbone, weights=taken, head=head, num_joints=None, input_size=input_size, skeleton=joints
    )
    if model.skeleton.keypoint_names != own.keypoint_names:
        annotated = annotated.with_skeleton(model.skeleton)
        shared = same_joints(model.skeleton.keypoint_names, own.keypoint_names) >= 0
        _say(f"{shared.sum()} of the network's {len(model.skeleton)} joints are annotated, matched by name")
    return model, named if is_address(named) else taken, annotated


def _check_boxes(boxes: str, dataset: str) -> None:
    """Raises before anything is loaded if `boxes` names no source of boxes."""
    if boxes == "gt":
        return
    if dataset == "mpii":
        raise HrkitError(f"MPII's PCKh is measured with the annotated boxes; pass --boxes gt, not {boxes}")
    if boxes in registry.detectors or Path(boxes).is_file():
        return
    if os.sep in boxes or boxes.endswith(".json"):
        raise HrkitError(f"--boxes {boxes}: no such file")
    raise UnknownNameError("boxes", boxes, ["gt", *registry.detectors.names()])


def _check_own_boxes(model: PoseModel, boxes: str, dataset: str) -> None:
    """Raises `HrkitError` if boxes are asked for or needed, for a network that takes none."""
    if boxes != "gt":
        raise HrkitError(f"{model.describe()} finds people by itself; leave --boxes out")
    if dataset == "mpii":
        raise HrkitError(f"MPII's PCKh is for people with given boxes, which {model.describe()} does not take")


def _boxes(annotated: KeypointDataset, device: torch.device, how: dict[str, Any]) -> tuple[KeypointDataset, str]:
    """The pictures with the boxes asked for, and a description of the boxes."""
    boxes, threshold, weights = how["boxes"], how["box_threshold"], how["detector_weights"]
    if boxes == "gt":
        return annotated, f"{len(annotated)} annotated ones (ground truth)"
    if boxes not in registry.detectors:
        found = read_detections(boxes, annotated, threshold=threshold or 0.0, skip_bad=how["skip_bad"])
        return found, f"{len(found)} of {boxes}, scores from {threshold or 0.0:g}"
    own = darknet_options(how["detector_cfg"], how["detector_names"], weights)
    detector = create_detector(boxes, weights=None if weights == "none" else weights, threshold=threshold, **own)
    found = detect_people(detector, annotated, device=device)
    least = "its own threshold" if threshold is None else f"threshold {threshold:g}"
    return found, f"{len(found)} of the detector {boxes}, {least}"


def _evaluate(
    model: PoseModel,
    boxed: KeypointDataset,
    annotated: KeypointDataset,
    spec: DatasetSpec,
    split: str,
    how: dict[str, Any],
) -> Evaluation:
    common = {name: how[name] for name in ("decoder", "flip_test", "batch_size", "workers")}
    if spec.name == "mpii":
        if model.skeleton.keypoint_names != mpii16.keypoint_names:
            raise HrkitError(f"PCKh needs MPII's 16 joints; {model.describe()} has {model.skeleton.name}'s")
        truth = read_mpii_truth(split=split) if spec.path is None else read_mpii_truth(spec.path, split=split)
        if len(truth.keypoints) != len(boxed):
            raise DatasetError(f"{boxed.name}: {len(boxed)} people, but {len(truth.keypoints)} in gt_{split}.mat")
        return evaluate_pckh(model, boxed, truth, **common)
    nms = None if how["nms"] == "none" else how["nms"]
    thresholds = {name: how[name] for name in ("nms_threshold", "score_threshold")}
    return evaluate(model, boxed, annotated=annotated, nms=nms, **thresholds, **common)


def _device_name(device: torch.device, world: World) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return name if world.size == 1 else f"{world.size} x {name}"


def _say_figures(content: dict[str, Any], output: Path) -> None:
    if "AP" in content:
        names = ("AP", "AP50", "AP75", "APM", "APL", "AR")
        click.echo("  ".join(f"{name} {content[name]:.4f}" for name in names))
    else:
        click.echo("PCKh: " + "  ".join(f"{name} {value:.2f}" for name, value in content["PCKh"].items()))
    if "outcomes" in content:
        shares = [f"{name} {share}" for name, share in outcome_shares(content).items()]
        click.echo(f"people and boxes: {', '.join(shares)}")
    click.echo(
        f"{content['box_count']} boxes in {content['seconds']:.1f} s, "
        f"{100 * content['outside_network']:.1f} % of it outside the network"
    )
    click.echo(f"report: {click.format_filename(output / 'report.md')}")
