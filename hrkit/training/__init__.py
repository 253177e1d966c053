"""Training: the loop, its settings, what it optimises, and the folder in which a run is kept and resumed."""

from hrkit.training.config import Augmentation, TrainConfig, load_config
from hrkit.training.run import TrainResult, train

__all__ = ["Augmentation", "TrainConfig", "TrainResult", "load_config", "train"]
