"""Pictures for training the person network: photos with boxes, cut out in many ways."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""(M,4) left, top, right, bottom."""
Size = tuple[int, int]
"""(height, width)."""

CLOSE_UP = 0.1
"""How often a picture shows a person from so near that half is cut off."""
GREY = 0.1
"""How often a picture has no colours."""
LEAST_VISIBLE = 0.25
"""Of a person cut by the edge: with less of the box in the picture, finding them makes no difference."""
LEAST_SIDE = 8
"""Input px; smaller people are treated alike."""


@frozen(eq=False)
class Photo:
    """A photo and its annotated people; photo px."""

    path: Path
    people: Boxes
    heads: Boxes
    """(M,4) around the labelled joints above the hips; no area where there are few."""
    unlabelled: Boxes
    """(U,4) people without annotation."""


@frozen(eq=False)
class Picture:
    """What the network sees: pixels (H,W,3) uint8 BGR, people, and boxes where either answer is right; input px."""

    pixels: NDArray[np.uint8]
    people: Boxes
    either: Boxes


def read_photos(folder: Path, unlabelled: Path | None = None) -> list[Photo]:
    """The photos of a folder in COCO's format: `images/` and one `person_keypoints_*.json`.

    `unlabelled` is a file of `find_unlabelled.py`.
    """
    others: dict[str, list[list[float]]] = {} if unlabelled is None else json.loads(unlabelled.read_text())
    content = json.loads(next(folder.glob("person_keypoints_*.json")).read_text())
    people: dict[int, list[list[float]]] = {image["id"]: [] for image in content["images"]}
    heads: dict[int, list[list[float]]] = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        x, y, width, height = annotation["bbox"]
        people[annotation["image_id"]].append([x, y, x + width, y + height])
        joints = np.array(annotation["keypoints"], np.float32).reshape(-1, 3)[:7]  # face and shoulders
        seen = joints[joints[:, 2] > 0, :2]
        box = [*seen.min(0).tolist(), *seen.max(0).tolist()] if len(seen) >= 3 else [0.0] * 4
        heads[annotation["image_id"]].append(box)
    return [
        Photo(
            folder / "images" / image["file_name"],
            _boxes(people[image["id"]]),
            _boxes(heads[image["id"]]),
            _boxes(others.get(image["file_name"], [])),
        )
        for image in content["images"]
    ]


def draw_picture(photo: Photo, size: Size, random: np.random.Generator) -> Picture:
    """The photo as a picture of `size`, varied at random; black where there is no photo."""
    near = close_up(photo, size, random) if random.random() < CLOSE_UP else None
    picture = near or scaled(photo, size, random)
    return mirrored(picture) if random.random() < 0.5 else picture


def scaled(photo: Photo, size: Size, random: np.random.Generator) -> Picture:
    """The photo at 0.6 to 1.4 times the size that a detector sees, at a random place, stretched by up to a tenth."""
    pixels = vary_colors(_read(photo), random)
    height, width = pixels.shape[:2]
    scale = max(size) / max(height, width) * random.uniform(0.6, 1.4)
    stretch = np.exp(random.uniform(-0.1, 0.1) / 2)
    scale_x, scale_y = scale * stretch, scale / stretch
    # the room that is left, or is too little, is shared out at random
    left, top = random.random(2) * [size[1] - width * scale_x, size[0] - height * scale_y]
    return warped(photo, pixels, np.array([[scale_x, 0, left], [0, scale_y, top]]), size)


def close_up(photo: Photo, size: Size, random: np.random.Generator) -> Picture | None:
    """A person from so near that face and shoulders fill much of the picture; None if nobody is large enough."""
    heads = photo.heads
    sides = heads[:, 2:] - heads[:, :2]
    large = np.flatnonzero(sides.max(1, initial=0) >= 40) if len(heads) else []
    if not len(large):
        return None
    chosen = random.choice(large)
    head = heads[chosen]
    # photo px that fill the shorter side; fewer than 110 are too blurred
    span = max(110.0, float(sides[chosen].max()) * random.uniform(1.2, 2.8))
    scale = min(size) / span
    middle = (head[:2] + head[2:]) / 2 + sides[chosen].max() * random.uniform(-0.25, [0.25, 0.5])
    offset = np.array([size[1] / 2, size[0] / 2]) - scale * middle
    pixels = vary_colors(_read(photo), random)
    return warped(photo, pixels, np.array([[scale, 0, offset[0]], [0, scale, offset[1]]]), size)


def warped(photo: Photo, pixels: NDArray[np.uint8], to_input: NDArray[np.float64], size: Size) -> Picture:
    """The part of a photo that the (2,3) map, photo px -> input px, without rotation, brings into a picture."""
    scale = np.array([to_input[0, 0], to_input[1, 1]])
    if scale.min() < 0.75:  # like the detector, which averages over what it makes smaller
        height, width = (max(1, round(s)) for s in (pixels.shape[0] * scale[1], pixels.shape[1] * scale[0]))
        smaller = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        move = np.array([[1, 0, to_input[0, 2]], [0, 1, to_input[1, 2]]])
        out = cv2.warpAffine(smaller, move, size[::-1], flags=cv2.INTER_LINEAR)
    else:
        out = cv2.warpAffine(pixels, to_input, size[::-1], flags=cv2.INTER_LINEAR)
    offset = to_input[:, 2]
    limit = np.array([size[1], size[0]] * 2)

    def moved(boxes: Boxes) -> NDArray[np.float64]:
        return boxes * np.tile(scale, 2) + np.tile(offset, 2)

    whole = moved(photo.people)
    people = np.clip(whole, 0, limit).astype(np.float32)
    unlabelled = np.clip(moved(photo.unlabelled), 0, limit).astype(np.float32)
    sides = people[:, 2:] - people[:, :2]
    visible = sides.prod(1) / np.maximum((whole[:, 2:] - whole[:, :2]).prod(1), 1e-6)
    # of somebody near, a small part is still a large thing to see
    large = (sides > 0.25 * min(size)).all(1)
    counts = ((visible >= LEAST_VISIBLE) | large) & (sides >= LEAST_SIDE).all(1)
    return Picture(out, people[counts], _with_area(np.concatenate([people[~counts], unlabelled])))


def mirrored(picture: Picture) -> Picture:
    """The picture, left and right changed round."""
    width = picture.pixels.shape[1]

    def turned(boxes: Boxes) -> Boxes:
        return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)

    return Picture(picture.pixels[:, ::-1], turned(picture.people), turned(picture.either))


def vary_colors(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Contrast and saturation up to a quarter, brightness up to a tenth; sometimes without colours."""
    grey = pixels.mean(2, dtype=np.float32, keepdims=True)
    saturation = 0.0 if random.random() < GREY else random.uniform(0.75, 1.25)
    colored = grey + (pixels - grey) * np.float32(saturation)
    gain, offset = random.uniform(0.75, 1.25), random.uniform(-0.1, 0.1) * 255
    return np.clip((colored - 128) * np.float32(gain) + np.float32(128 + offset), 0, 255).astype(np.uint8)


def _read(photo: Photo) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(photo.path))
    if pixels is None:
        raise FileNotFoundError(photo.path)
    return pixels


def _boxes(values: list[list[float]]) -> Boxes:
    return np.array(values, np.float32).reshape(-1, 4)


def _with_area(boxes: Boxes) -> Boxes:
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)].astype(np.float32)
