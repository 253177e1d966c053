"""What a dataset is."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from hrkit.structures import Skeleton


@runtime_checkable
class KeypointDataset(Protocol):
    """People with keypoints, by index."""

    skeleton: Skeleton

    def __len__(self) -> int:
        """How many people there are."""
        ...

    def __getitem__(self, index: int) -> Any:
        """One person."""
        ...
