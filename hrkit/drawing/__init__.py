"""Drawing: annotators for frames, colours, contact sheets and simple plots. The frame given is never changed."""

from hrkit.drawing.annotators import BoxAnnotator, HeatmapAnnotator, SkeletonAnnotator, background, draw_status

__all__ = ["BoxAnnotator", "HeatmapAnnotator", "SkeletonAnnotator", "background", "draw_status"]
