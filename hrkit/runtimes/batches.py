"""How frames and people are dealt to devices in batches."""

from __future__ import annotations

from typing import TypeVar

from hrkit.structures import Detections

AT_ONCE = 8
"""The most inputs per call of a network on a CPU. Larger batches gain at most 6 % in any runtime and need more memory,
and oneDNN has kernels with AMX that take 20 times as long for 12 inputs as for 10."""

Item = TypeVar("Item")
Job = tuple[list[int], list[Detections] | None]
"""One batch of the pose network: indices of frames, and the boxes in each if they are known."""


def share(count: int, devices: int) -> int:
    """The share of each device when `count` is divided among them; at least 1."""
    return max(1, -(-count // devices))


def chunks(items: list[Item], most: int, devices: int) -> list[list[Item]]:
    """The items in order, at most `most` at a time, shared out among the devices."""
    size = min(most, share(len(items), devices))
    return [items[i : i + size] for i in range(0, len(items), size)]


def batches(found: list[Detections], size: int) -> list[Job]:
    """The people of all frames in batches of `size`; a frame without people joins a neighbour's batch."""
    made: dict[int, tuple[list[int], list[Detections]]] = {}
    before = 0  # people of earlier frames
    for place, people in enumerate(found):
        last = max(before, before + len(people) - 1)
        for batch in range(before // size, last // size + 1):
            places, boxes = made.setdefault(batch, ([], []))
            start = batch * size - before
            places.append(place)
            boxes.append(people[max(0, start) : start + size])
        before += len(people)
    return list(made.values())
