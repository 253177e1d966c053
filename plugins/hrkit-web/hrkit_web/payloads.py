"""What goes over the wire, as JSON has it; the OpenAPI page is made of this."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from hrkit.drawing.colors import LEFT, MIDDLE, PEOPLE, RIGHT, UNKNOWN, joint_sides
from hrkit.structures import Poses, Skeleton
from hrkit_web.networks.models import LOWEST_THRESHOLD


class Choice(BaseModel):
    """Which networks, and from which score on somebody counts."""

    model_config = ConfigDict(extra="forbid")

    backbone: str | None = Field(None, max_length=100, description="A name of /v1/models, or its default.")
    detector: str | None = Field(None, max_length=100, description='The same; "none": the whole picture is one person.')
    threshold: float = Field(0.25, ge=LOWEST_THRESHOLD, le=1, description="The least score of a box.")


class PhotoChoice(Choice):
    """Of a photo."""

    format: Literal["json", "csv", "jpeg"] = Field("json", description="Poses, or the picture with its people drawn.")


class LiveChoice(Choice):
    """Of a camera."""

    detect_every: int = Field(2, ge=1, le=60, description="Frames from one detection to the next.")
    smoothing: float = Field(1.0, ge=0, le=10, description="Strength of the One-Euro filter; 0: none.")


class VideoChoice(LiveChoice):
    """Of a video."""

    detect_every: int = Field(1, ge=1, le=60, description="Frames from one detection to the next.")
    annotate: bool = Field(False, description="Whether a video with the people drawn is made as well.")


class SkeletonOut(BaseModel):
    """The joints and how they belong together."""

    name: str
    keypoint_names: list[str]
    edges: list[tuple[int, int]] = Field(description="Limbs, as pairs of indices into keypoint_names.")
    sides: list[int] = Field(description="Of each joint: 1 left, -1 right, 0 neither.")


class PersonOut(BaseModel):
    """Somebody, as `Poses.to_dict` has them."""

    id: int | None = Field(description="The same in all frames of a video; null in photos.")
    score: float = Field(description="box_score times the mean score of the joints.")
    box: tuple[float, float, float, float] = Field(description="Left, top, right, bottom, px.")
    box_score: float
    keypoints: dict[str, tuple[float, float, float]] = Field(description="Name -> x, y, px, and score.")


class PosesOut(BaseModel):
    """The people of a photo."""

    width: int
    height: int
    skeleton: SkeletonOut
    people: list[PersonOut]


class Refusal(BaseModel):
    """Why not."""

    detail: Any


def skeleton_out(skeleton: Skeleton) -> dict[str, Any]:
    """As `SkeletonOut`."""
    return {
        "name": skeleton.name,
        "keypoint_names": list(skeleton.keypoint_names),
        "edges": skeleton.edge_indices.tolist(),
        "sides": joint_sides(skeleton).tolist(),
    }


def frame_out(index: int, time: float, poses: Poses) -> dict[str, Any]:
    """The people of one frame of a camera or video."""
    return {"type": "frame", "frame": index, "time": round(time, 6), "people": poses.to_dict()}


def colors_out() -> dict[str, Any]:
    """The palette of hrkit's own drawings, for pages."""
    return {
        "left": _hex(LEFT),
        "right": _hex(RIGHT),
        "middle": _hex(MIDDLE),
        "unknown": _hex(UNKNOWN),
        "people": [_hex(color) for color in PEOPLE],
    }


def _hex(bgr: tuple[int, int, int]) -> str:
    blue, green, red = bgr
    return f"#{red:02x}{green:02x}{blue:02x}"
