"""The command `hrkit web`."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest
from click.testing import CliRunner
from hrkit_web.command import _address, _limits, _token, command
from hrkit_web.files.images import PIXEL_BYTES
from hrkit_web.settings import Limits, Settings

from hrkit.cli import main
from hrkit.errors import HrkitError
from hrkit.testing import check_plugin, describe


def test_the_contract():
    found = check_plugin("hrkit-web")
    assert not found, describe(found)


def test_help_has_examples():
    assert "hrkit web --backbone lite_plus --port 9000" in CliRunner().invoke(command, ["--help"]).stdout


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(main, ["web", "--port", str(taken.getsockname()[1])])
    assert result.exit_code == 2
    said = r"error: cannot listen on 127.0.0.1:\d+ \(.+\); choose another --host or --port\n"
    assert re.fullmatch(said, result.stderr)


def test_an_unknown_name():
    result = CliRunner().invoke(main, ["web", "--port", "0", "--backbone", "nobody"])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "nobody" in result.stderr


@pytest.mark.parametrize("token", ["short", "with a space in it, though long", "ümlauts-are-no-letters-here", ""])
def test_invalid_tokens(token):
    with pytest.raises(HrkitError, match="16 or more letters"):
        _token(token, "127.0.0.1", (), behind_proxy=False)


def test_a_token_is_needed_if_other_machines_can_connect():
    assert _token(None, "127.0.0.1", (), behind_proxy=False) is None
    assert _token(None, "::1", (), behind_proxy=False) is None
    made = {
        _token(None, "0.0.0.0", (), behind_proxy=False),
        _token(None, "192.168.1.2", (), behind_proxy=False),
        _token(None, "127.0.0.1", ("a.example",), behind_proxy=False),
        _token(None, "127.0.0.1", (), behind_proxy=True),
    }
    assert len(made) == 4
    assert all(token is not None and len(token) >= 32 for token in made)
    assert _token("a-token-of-these-tests", "127.0.0.1", (), behind_proxy=True) == "a-token-of-these-tests"


def test_the_largest_photo_can_always_be_decoded():
    for limits in (Limits(), _limits(256, 25, 60), _limits(256, 50, 60)):
        assert limits.decoded_bytes >= limits.photo_bytes + PIXEL_BYTES * limits.photo_pixels
    assert _limits(1, 0.1, 60).decoded_bytes == Limits().decoded_bytes >= 50 * (PIXEL_BYTES * 512 * 342 + 100_000)


def test_the_address_has_the_token_behind_the_hash():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert _address(Settings(), listening) == f"http://127.0.0.1:{port}/"
        assert _address(Settings(token="a" * 16), listening) == f"http://127.0.0.1:{port}/#token={'a' * 16}"
    assert "a" * 16 not in repr(Settings(token="a" * 16))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize(("options", "shown"), [((), "/"), (("--behind-proxy",), "/#token=")])
def test_it_serves_until_it_is_interrupted(tmp_path, options, shown):
    pytest.importorskip("hrkit_lite")
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "from hrkit_web.command import command; command()"
    running = subprocess.Popen(
        [sys.executable, "-c", code, "--port", "0", *options], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert running.stdout is not None
        address, hash_, token = running.stdout.readline().split()[0].partition("#token=")
        assert f"/{hash_}" == shown
        assert bool(token) == bool(hash_)
        with urllib.request.urlopen(f"{address}health", timeout=60) as answer:
            assert json.load(answer)["status"] == "ok"
        assert len(list(tmp_path.glob("hrkit-web-*"))) == 1
        running.send_signal(signal.SIGINT)
        running.wait(60)
    finally:
        running.kill()
    assert list(tmp_path.glob("hrkit-web-*")) == []
