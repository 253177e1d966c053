"""Parameters and answers of the API. Its OpenAPI description is generated from these."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hrkit.drawing.colors import LEFT, MIDDLE, PEOPLE, RIGHT, UNKNOWN, joint_sides
from hrkit.structures import Poses, Skeleton
from hrkit_web.networks.models import LOWEST_THRESHOLD


class Choice(BaseModel):
    """The networks and the threshold of a request."""

    model_config = ConfigDict(extra="forbid")

    backbone: str | None = Field(None, max_length=100, description="A name from /v1/models; else the default.")
    detector: str | None = Field(None, max_length=100, description='Likewise, or "none": one person fills the picture.')
    threshold: float = Field(0.55, ge=LOWEST_THRESHOLD, le=1, description="Lowest score of a person's box.")


class PhotoChoice(Choice):
    """The parameters of a photo."""

    format: Literal["json", "csv", "jpeg"] = Field("json", description="Poses, or the picture with the poses drawn.")


class LiveChoice(Choice):
    """The parameters of a camera."""

    detect_every: int = Field(2, ge=1, le=60, description="The detector runs on every n-th frame.")
    smoothing: float = Field(1.0, ge=0, le=10, description="Strength of the One-Euro filter; 0 turns it off.")


class VideoChoice(LiveChoice):
    """The parameters of a video."""

    detect_every: int = Field(1, ge=1, le=60, description="The detector runs on every n-th frame.")
    annotate: bool = Field(False, description="Whether to make a video with the poses drawn as well.")


class SkeletonOut(BaseModel):
    """The joints and the limbs that connect them."""

    name: str
    keypoint_names: list[str]
    edges: list[tuple[int, int]] = Field(description="Limbs, as pairs of indices into keypoint_names.")
    sides: list[int] = Field(description="Side of each joint: 1 left, -1 right, 0 neither.")


class PersonOut(BaseModel):
    """A person, as in `Poses.to_dict`."""

    id: int | None = Field(description="Identifies a person across frames; null in photos.")
    score: float = Field(description="box_score times the mean score of the joints.")
    box: tuple[float, float, float, float] = Field(description="Left, top, right, bottom, px.")
    box_score: float
    keypoints: dict[str, tuple[float, float, float]] = Field(description="Name -> x and y in px, and score.")


class PosesOut(BaseModel):
    """The people of a photo."""

    width: int
    height: int
    skeleton: SkeletonOut
    people: list[PersonOut]


class Refusal(BaseModel):
    """The reason of a refusal."""

    detail: object


def skeleton_out(skeleton: Skeleton) -> dict[str, object]:
    """A skeleton as JSON, see `SkeletonOut`."""
    return {
        "name": skeleton.name,
        "keypoint_names": list(skeleton.keypoint_names),
        "edges": skeleton.edge_indices.tolist(),
        "sides": joint_sides(skeleton).tolist(),
    }


def frame_out(index: int, time: float, poses: Poses) -> dict[str, object]:
    """The people in one frame of a camera or video, as JSON."""
    return {"type": "frame", "frame": index, "time": round(time, 6), "people": poses.to_dict()}


def colors_out() -> dict[str, object]:
    """The colours of hrkit's drawings, for the page."""
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
