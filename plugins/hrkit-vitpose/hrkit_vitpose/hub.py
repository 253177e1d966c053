"""Descriptions of networks on the Hugging Face Hub: json files, in which nothing can be executed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig
from transformers.utils import logging

from hrkit.errors import HrkitError, one_line
from hrkit.weights import hub

CONFIG = "config.json"


def read_config(repository: str, weights: Path | None = None) -> PretrainedConfig:
    """The configuration of `owner/name[@revision]`: the file beside `weights` if there is one, else that of the Hub.

    Code that a repository brings is never run. Raises `DownloadError` if the file cannot be fetched, `HrkitError` if
    transformers does not know such a network.
    """
    file = find(repository, CONFIG, weights)
    try:
        with quiet():
            config = AutoConfig.from_pretrained(file, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise HrkitError(f"hf/{repository}: {CONFIG} is of no use ({one_line(error)[:200]})") from None
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False  # or weights of a part would be fetched from elsewhere
    return config


def find(repository: str, name: str, weights: Path | None = None) -> Path:
    """The file `name` beside `weights` if it is there, else that of the repository, fetched."""
    beside = weights and weights.parent / name
    return beside if beside and beside.is_file() else hub.fetch(f"hf-hub:{repository}", name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps reports and bars of transformers from the terminal; errors are raised all the same."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
