"""What notebooks show of detections and poses: the picture, if it is known, and a table."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import cv2

from hrkit.drawing.people import plot
from hrkit.errors import HrkitError, counted
from hrkit.structures import Detections, Poses

MOST_ROWS, WIDEST = 20, 960  # of a table, and of a picture in px
_SIDES = ("x1", "y1", "x2", "y2")


def boxes_html(boxes: Detections) -> str:
    """A table with a row per box."""
    rows = [[one["score"], one["class_id"], *one["box"]] for one in boxes.to_dict()]
    return _table(f"Detections: {len(boxes)}", ["score", "class_id", *_SIDES], rows)


def people_html(poses: Poses) -> str:
    """The picture with its people, if the poses know it, and a table with a row per person."""
    rows = [
        ["" if one["id"] is None else one["id"], one["score"], one["box_score"], mean, *one["box"]]
        for one, mean in zip(poses.to_dict(), poses.keypoint_scores.mean(1).tolist(), strict=True)
    ]
    heads = ["id", "score", "of the box", "of the keypoints", *_SIDES]
    people = counted(len(poses), "person", "people")
    return _picture(poses) + _table(f"Poses: {people}, {poses.skeleton.name}", heads, rows)


def _picture(poses: Poses) -> str:
    """The picture as an element of HTML, or nothing if it is not there."""
    try:
        picture = plot(poses)
    except HrkitError:  # it is not known, or its file was moved
        return ""
    scale = min(1.0, WIDEST / picture.shape[1])
    size = (round(picture.shape[1] * scale), max(1, round(picture.shape[0] * scale)))
    content = cv2.imencode(".jpg", cv2.resize(picture, size, interpolation=cv2.INTER_AREA))[1]
    return f'<img src="data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}" alt=""/>'


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table of the first rows for notebooks; floats have two decimals."""

    def line(cell: str, values: Sequence[object]) -> str:
        texts = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in values)
        return f"<tr>{''.join(f'<{cell}>{html.escape(text)}</{cell}>' for text in texts)}</tr>"

    lines = [line("th", heads), *(line("td", row) for row in rows[:MOST_ROWS])]
    more = f"<p>and {len(rows) - MOST_ROWS} more</p>" if len(rows) > MOST_ROWS else ""
    return f"<table><caption>{html.escape(title)}</caption>{''.join(lines)}</table>{more}"
