import pytest
from click.testing import CliRunner

from hrkit.cli import main
from hrkit.commands.download import command
from hrkit.errors import DownloadError, UnknownNameError
from hrkit.weights import downloads, hub


@pytest.fixture
def downloaded(monkeypatch, tmp_path):
    """The calls of `download` instead of downloads; the cache is in `tmp_path`."""
    calls = []

    def download(url, target, *, progress, **published):
        calls.append((url, progress))
        return target

    monkeypatch.setenv("HRKIT_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "download", download)
    return calls


def test_fetches_and_prints_the_paths(downloaded, tmp_path):
    result = CliRunner().invoke(command, ["yolov3_tiny", "hrnet_w32-imagenet"])
    assert result.exit_code == 0
    expected = [tmp_path / "yolov3_tiny.weights", tmp_path / "hrnet_w32-imagenet.pth"]
    assert result.stdout.splitlines() == list(map(str, expected))
    assert [progress for _, progress in downloaded] == [True, True]


def test_quiet(downloaded):
    CliRunner().invoke(command, ["--quiet", "yolov3"])
    assert downloaded == [("https://pjreddie.com/media/files/yolov3.weights", False)]


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_holds_for_the_hub(monkeypatch, quiet):
    asked = []
    monkeypatch.setattr(hub, "fetch", lambda text, progress: asked.append((text, progress)) or "file")
    result = CliRunner().invoke(command, [*["--quiet"] * quiet, "hf-hub:owner/name"])
    assert (result.output, asked) == ("file\n", [("hf-hub:owner/name", not quiet)])


def test_an_unknown_name_stops_before_any_download(downloaded):
    result = CliRunner().invoke(command, ["yolov3", "yolov4"])
    assert isinstance(result.exception, UnknownNameError)
    assert downloaded == []


@pytest.mark.parametrize("error", [DownloadError("one\n two"), OSError("one two")])
def test_one_that_fails_does_not_stop_the_others(downloaded, monkeypatch, tmp_path, error):
    def download(url, target, **_):
        if "tiny" in url:
            raise error
        return target

    monkeypatch.setattr(downloads, "download", download)
    result = CliRunner().invoke(main, ["download", "yolov3_tiny", "yolov3"])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [str(tmp_path / "yolov3.weights")]
    assert result.stderr.splitlines() == ["error: one two", "1 of 2 failed"]
    result = CliRunner().invoke(main, ["download", "yolov3_tiny"])
    assert result.exit_code == 2
    assert result.stderr == "error: one two\n"


def test_needs_a_name():
    assert CliRunner().invoke(command, []).exit_code == 2


def test_help_has_an_example():
    assert "hrkit download hrnet_w32-coco-256x192 yolov3" in CliRunner().invoke(command, ["--help"]).stdout
