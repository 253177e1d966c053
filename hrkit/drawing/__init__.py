"""Pictures of results: people on frames, contact sheets and plots."""

from hrkit.drawing.annotators import BoxAnnotator, HeatmapAnnotator, SkeletonAnnotator, background, draw_status

__all__ = ["BoxAnnotator", "HeatmapAnnotator", "SkeletonAnnotator", "background", "draw_status"]
