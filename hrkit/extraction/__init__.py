"""Extraction: keypoint files from one video or from very many inputs, resumable at any moment."""

from hrkit.extraction.formats import write_keypoints
from hrkit.extraction.inputs import Inputs, find_inputs
from hrkit.extraction.manifest import Result
from hrkit.extraction.many_inputs import Job, extract_all
from hrkit.extraction.one_video import extract

__all__ = ["Inputs", "Job", "Result", "extract", "extract_all", "find_inputs", "write_keypoints"]
