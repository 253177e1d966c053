"""Frames in and drawn frames out: video files, folders of pictures, cameras, streams, and the sinks that record them.

Frames are upright (H, W, 3) uint8 BGR arrays that know their index and their time in seconds.
"""

from hrkit.video.cameras import Camera, Stream, open_source
from hrkit.video.files import FrameSource, SourceInfo, VideoFile, VideoFrame
from hrkit.video.pictures import PictureFile, PictureFolder
from hrkit.video.sinks import Sink, open_sink

__all__ = [
    "Camera",
    "FrameSource",
    "PictureFile",
    "PictureFolder",
    "Sink",
    "SourceInfo",
    "Stream",
    "VideoFile",
    "VideoFrame",
    "open_sink",
    "open_source",
]
