"""Everything known about the people of a frame, drawn at once."""

from __future__ import annotations

from attrs import define

from hrkit.drawing.annotators import BoxAnnotator, ColorBy, HeatmapAnnotator, SkeletonAnnotator
from hrkit.structures import Frame, Poses


@define
class Drawing:
    """What is drawn on a frame. The fields may change from one frame to the next."""

    color_by: ColorBy = "side"
    boxes: bool = True
    heatmaps: bool = False
    udp: bool = False
    """Whether the heatmaps come from the `udp` codec."""

    def __call__(self, frame: Frame, poses: Poses) -> Frame:
        """A copy of the (H,W,3) BGR frame with its people."""
        heat = self.heatmaps and poses.heatmaps is not None
        canvas = HeatmapAnnotator(udp=self.udp)(frame, poses) if heat else frame.copy()
        SkeletonAnnotator(color_by=self.color_by).draw(canvas, poses)
        if self.boxes:
            BoxAnnotator(color_by=self.color_by).draw(canvas, poses)
        return canvas
