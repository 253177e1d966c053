"""`hrkit browse`: the sheet shows what was asked for, the same for the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hrkit.cli import main
from hrkit.drawing.contact_sheet import BACKGROUND, CAPTION_HEIGHT, GAP
from hrkit.images import read_image
from made_coco import make_coco


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a dataset of six people, to be in."""
    monkeypatch.chdir(tmp_path)
    make_coco(tmp_path / "data", pictures=3)
    return tmp_path


def browse(*arguments: Any) -> Result:
    return CliRunner().invoke(main, ["browse", *map(str, arguments)])


def test_a_sheet() -> None:
    result = browse("--dataset", "coco:data", "--count", 5, "--output", "sheet.png")
    assert result.exit_code == 0, result.output
    sheet = read_image("sheet.png")
    assert sheet.shape == (2 * (256 + CAPTION_HEIGHT + GAP) + GAP, 12 * (192 + GAP) + GAP, 3)
    assert (sheet[-200:, -900:] == BACKGROUND).all()  # the fifth person is alone in the second row
    assert result.stdout.splitlines()[0].endswith("5 people, each plain, augmented and with targets")


def test_everybody_where_more_are_asked_for() -> None:
    assert "6 people, each" in browse("--dataset", "coco:data", "--count", 99).stdout
    assert Path("browse.jpg").is_file()


@pytest.mark.parametrize("codec", ["msra", "dark", "udp"])
def test_sizes_and_codecs(codec: str) -> None:
    options = ("--dataset", "coco:data", "--count", 1, "--codec", codec, "--input-size", 96, 64, "--output", "one.png")
    assert browse(*options).exit_code == 0
    sheet = read_image("one.png")
    assert sheet.shape == (96 + CAPTION_HEIGHT + 2 * GAP, 3 * (64 + GAP) + GAP, 3)
    plain, varied, targets = (sheet[GAP + CAPTION_HEIGHT : -GAP, left : left + 64] for left in (4, 72, 140))
    assert (plain != varied).any()
    assert targets.max() > 200


def test_one_seed_is_one_sheet() -> None:
    sheets = []
    for number, seed in enumerate((3, 3, 4)):
        options = ("--dataset", "coco:data", "--count", 2, "--seed", seed)
        assert browse(*options, "--output", f"{number}.png").exit_code == 0
        sheets.append(read_image(f"{number}.png"))
    np.testing.assert_array_equal(sheets[0], sheets[1])
    assert (sheets[0] != sheets[2]).any()


def test_the_recipe_of_a_training(folder: Path) -> None:
    (folder / "still.toml").write_text(
        'datasets = ["coco:data*2"]\ninput_size = [64, 64]\ncodec = "dark"\nlearning_rate = 1e-4\n'
        "[augmentation]\nscale = 0.0\nrotation = 0.0\nflip = 0.0\nhalf_body = 0.0\n"
    )
    result = browse("--config", "still.toml", "--count", 1, "--output", "one.png")
    assert result.exit_code == 0, result.output
    sheet = read_image("one.png")[GAP + CAPTION_HEIGHT : -GAP]
    np.testing.assert_array_equal(sheet[:, 4:68], sheet[:, 72:136])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--dataset", "coco:nowhere"], "no COCO json there"),
        (["--dataset", "koko"], "choices: coco, custom, mpii"),
        (["--dataset", "coco:data", "--codec", "drak"], "did you mean dark"),
        (["--dataset", "coco:data", "--input-size", "63", "64"], "must be a multiple of 4"),
        (["--dataset", "coco:data", "--output", "sheet.gif"], "cannot write such a picture"),
        (["--config", "missing.toml"], "cannot be read"),
        (["--config", "wrong.toml"], "unknown key 'flipp'"),
    ],
)
def test_mistakes(options: list[str], says: str) -> None:
    Path("wrong.toml").write_text("[augmentation]\nflipp = 1.0\n")
    result = browse(*options)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.startswith("error: ")
    assert not list(Path().glob("*.jpg"))


def test_a_config_is_checked_as_for_training() -> None:
    for content, says in (("epoch = 3", "unknown key 'epoch'"), ("datasets = 3", "must be a"), ("sigma = -1", "sigma")):
        Path("wrong.toml").write_text(content)
        result = browse("--config", "wrong.toml", "--dataset", "coco:data")
        assert result.exit_code == 2
        assert says in result.stderr
