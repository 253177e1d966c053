"""Training: the loop, its settings, its objective and losses, and the folder that a run is kept in and resumed from."""

from hrkit.training.config import Augmentation, TrainConfig, load_config
from hrkit.training.run import TrainResult, train

__all__ = ["Augmentation", "TrainConfig", "TrainResult", "load_config", "train"]
