"""Checks of Host, Origin, token and request rate."""

import base64
import os

import pytest
from hrkit_web.gates.access import Rates, host_allowed, is_loopback, same_origin
from hypothesis import given
from hypothesis import strategies as st

TOKEN = "a-token-of-these-tests"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000"])
def test_loopback_goes_by_its_own_names(host):
    assert host_allowed(host, "127.0.0.1", ())


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "a@127.0.0.1", "127.0.0.1:",
     "127.0.0.1:8000:1", "[::1", "localhost/", "localhost evil"],
)  # fmt: skip
def test_loopback_goes_by_no_other(host):
    assert not host_allowed(host, "127.0.0.1", ())


def test_other_addresses_go_by_addresses_and_the_names_they_were_given():
    assert host_allowed("192.168.1.7:8000", "0.0.0.0", ())
    assert host_allowed("Poses.Example", "0.0.0.0", ("poses.example",))
    assert not host_allowed("evil.example", "0.0.0.0", ("poses.example",))


def test_loopback():
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.org")


@given(st.from_regex(r"[a-z]{1,10}(\.[a-z]{2,5}){1,3}", fullmatch=True), st.integers(1, 65535))
def test_no_name_from_outside_is_taken_for_this_machine(name, port):
    assert not host_allowed(f"{name}:{port}", "127.0.0.1", ())
    assert not same_origin(f"http://{name}:{port}", f"127.0.0.1:{port}")
    assert same_origin(f"https://{name}:{port}", f"{name}:{port}")


@given(st.text(max_size=40))
def test_any_text_may_come(text):
    assert not same_origin(text, "127.0.0.1:8000") or text.lower().startswith(("http://", "https://"))
    assert isinstance(host_allowed(text, "127.0.0.1", ()), bool)


@given(st.lists(st.floats(0, 1), max_size=60))
def test_rates_let_through_no_more_than_they_say(pauses):
    now = 0.0
    rates = Rates(5, clock=lambda: now)
    taken = 0
    for pause in pauses:
        now += pause
        taken += rates.take("somebody")
    assert taken <= 10 + 5 * now + 1e-6
    assert rates.take("somebody else")


def test_too_many_requests_are_refused(serve):
    with serve(rate=2) as site:
        statuses = [site.get("/v1/models").status for _ in range(12)]
        assert statuses[0] == 200
        assert 429 in statuses


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_pages_of_other_sites_get_nothing(site, headers, status):
    assert site.get("/v1/models", headers).status == status
    if "Host" not in headers:
        assert site.get("/v1/models", {**headers, "Host": f"localhost:{site.port}"}).status == status


def test_its_own_page_gets_all(site):
    assert site.get("/v1/models", {"Origin": f"http://{site.host}"}).status == 200


def handshake(site, **headers):
    """The first line of the answer to a WebSocket handshake."""
    lines = ["GET /v1/live HTTP/1.1", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    lines.append(f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}")
    given = {"Host": site.host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines += [f"{name}: {value}" for name, value in given.items()]
    import socket

    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return connection.recv(4096).split(b"\r\n")[0].decode()


def test_websockets_are_guarded_too(site):
    assert " 101 " in handshake(site)
    assert " 101 " in handshake(site, Origin=f"http://{site.host}")
    assert " 403 " in handshake(site, Origin="http://evil.example")
    assert " 403 " in handshake(site, Host="evil.example")


@pytest.mark.slow
def test_everything_but_the_page_needs_the_token(serve):
    with serve(token=TOKEN) as site:
        for path in ("/", "/static/app.js", "/health", "/docs", "/openapi.json"):
            assert site.get(path).status == 200
        for path in ("/v1/models", "/metrics", "/v1/results/a/csv", "/no/such/path"):
            answer = site.get(path)
            assert answer.status == 401
            assert answer.headers["www-authenticate"] == "Bearer"
        assert site.send("/v1/poses", "image", b"x").status == 401
        for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", "Bearer", TOKEN, "Bearer \xe9"):
            assert site.get("/v1/models", {"Authorization": wrong}).status == 401
        assert site.get("/v1/models", {"Authorization": f"Bearer {TOKEN}"}).status == 200
        assert site.get("/v1/models?token=" + TOKEN).status == 401
        assert " 403 " in handshake(site)
        assert " 403 " in handshake(site, Sec_WebSocket_Protocol="hrkit, token.wrong")
        assert " 101 " in handshake(site, Sec_WebSocket_Protocol=f"hrkit, token.{TOKEN}")
