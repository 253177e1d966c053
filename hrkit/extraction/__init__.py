"""Extraction: keypoint files from one video, or from any number of pictures and videos, resumable at any time."""

from hrkit.extraction.formats import write_keypoints
from hrkit.extraction.inputs import Inputs, find_inputs
from hrkit.extraction.manifest import Result
from hrkit.extraction.many_inputs import Progress, extract_all
from hrkit.extraction.one_video import extract
from hrkit.extraction.worker import Job

__all__ = ["Inputs", "Job", "Progress", "Result", "extract", "extract_all", "find_inputs", "write_keypoints"]
