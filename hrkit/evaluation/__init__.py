"""Evaluation: predictions on a dataset, and AP (COCO), PCK and PCKh figures from them."""

from hrkit.evaluation.coco import coco_ap, coco_results, evaluate, evaluate_pckh
from hrkit.evaluation.detected_boxes import read_detections

__all__ = ["coco_ap", "coco_results", "evaluate", "evaluate_pckh", "read_detections"]
