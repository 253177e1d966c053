"""Cameras: answers to the newest frames, and recordings."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


@pytest.fixture
def camera(site):
    """Opens connections as a camera does, and closes them at the end."""
    with contextlib.ExitStack() as stack:
        query = "detect_every=1&smoothing=0"
        yield lambda one=site, **options: stack.enter_context(
            connect(f"ws://{one.host}/v1/live?{query}", compression=None, **options)
        )


def hear(socket, kind):
    """Waits for the next message of a kind."""
    while True:
        message = json.loads(socket.recv(30))
        if message["type"] == kind:
            return message
        assert message["type"] != "error", message


@pytest.mark.slow
def test_frames_are_answered_and_people_followed(camera, painted, encoded):
    socket = camera(subprotocols=["hrkit", "token.none"])
    assert socket.subprotocol == "hrkit"
    assert len(hear(socket, "hello")["skeleton"]["keypoint_names"]) == 17
    for index in range(5):
        frame, people = painted(2.0 * index)
        socket.send(encoded(frame))
        answer = hear(socket, "frame")
        assert (answer["frame"], answer["width"], answer["height"], answer["dropped"]) == (index, 320, 240, 0)
        nose = [person["keypoints"]["nose"][:2] for person in answer["people"]]
        assert np.abs(np.array(nose) - people[:, 0]).max() < 2
    assert [person["id"] for person in answer["people"]] == [1, 2]


@pytest.mark.slow
def test_the_newest_frame_wins(serve, camera, painted, encoded, synthetic, poll):
    import threading

    gate, entered = threading.Event(), threading.Event()

    class Slow:
        detector, skeleton, max_batch_size, bottom_up = synthetic.detector, synthetic.skeleton, 8, False
        predict_batch = staticmethod(synthetic.predict_batch)

        @staticmethod
        def detect(images):
            entered.set()
            gate.wait(30)
            return synthetic.detect(images)

    with serve(Slow()) as one:
        socket = camera(one)
        hear(socket, "hello")
        socket.send(encoded(painted()[0]))
        assert entered.wait(30)
        for index in range(1, 20):
            socket.send(encoded(painted(index)[0]))
        socket.ping().wait(30)  # everything sent before has arrived
        gate.set()
        assert hear(socket, "frame")["frame"] == 0
        newest = hear(socket, "frame")
        assert (newest["frame"], newest["dropped"]) == (19, 18)
        socket.close()
        poll(lambda: "dropped_frames_total 18" in one.get("/metrics").body.decode())
        poll(lambda: one.services.cameras.taken == 0)


@pytest.mark.slow
def test_recordings_can_be_fetched(site, camera, painted, encoded):
    import av

    socket = camera()
    hear(socket, "hello")
    socket.send(json.dumps({"record": True}))
    for index in range(4):
        socket.send(encoded(painted(2.0 * index)[0]))
        hear(socket, "frame")
    socket.send(json.dumps({"record": False}))
    socket.send(encoded(painted(8.0)[0]))
    files = hear(socket, "recorded")["results"]["files"]
    rows = list(csv.DictReader(io.StringIO(site.get(files["csv"]).body.decode())))
    assert [int(row["frame"]) for row in rows] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert float(rows[0]["time"]) == 0
    assert {result["track_id"] for result in site.get(files["json"]).json()[-2:]} == {1, 2}
    with av.open(io.BytesIO(site.get(files["mp4"]).body)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 5


def test_a_recording_that_was_not_started_can_be_stopped(camera, painted, encoded):
    socket = camera()
    hear(socket, "hello")
    for commands, recorded in (((False,), False), ((True, False), True), ((False, True, False), True)):
        for record in commands:
            socket.send(json.dumps({"record": record}))
        socket.send(encoded(painted()[0]))
        hear(socket, "frame")
        assert (hear(socket, "recorded")["results"] is not None) == recorded


def test_an_unfinished_recording_is_deleted(site, camera, painted, encoded, poll):
    before = set(site.services.results.root.iterdir())
    socket = camera()
    hear(socket, "hello")
    socket.send(json.dumps({"record": True}))
    socket.send(encoded(painted()[0]))
    hear(socket, "frame")
    assert set(site.services.results.root.iterdir()) > before
    socket.close()
    poll(lambda: set(site.services.results.root.iterdir()) == before)


@pytest.mark.parametrize(
    "message", [b"no picture", b"", "no json", "[" * 5000, '{"record": 1}', '{"other": true}', "[]", "null"]
)
def test_other_messages_close_the_connection(camera, message):
    socket = camera()
    hear(socket, "hello")
    socket.send(message)
    said = json.loads(socket.recv(30))
    assert said["type"] == "error"
    assert "\n" not in said["detail"]
    with pytest.raises(ConnectionClosed):
        socket.recv(30)


def test_large_frames_close_the_connection(serve, camera, painted, encoded):
    with serve(frame_bytes=10_000, frame_pixels=1000) as one:
        socket = camera(one)
        hear(socket, "hello")
        socket.send(bytes(20_000))
        with pytest.raises(ConnectionClosed):
            socket.recv(30)
        socket = camera(one)
        hear(socket, "hello")
        socket.send(encoded(painted()[0], "WEBP"))
        assert "too many pixels" in json.loads(socket.recv(30))["detail"]


def test_the_number_of_cameras_is_limited(serve, camera):
    with serve(live=1) as one:
        hear(camera(one), "hello")
        socket = camera(one)
        assert "1 cameras at one time" in json.loads(socket.recv(30))["detail"]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(30)
        assert closed.value.rcvd.code == 1013


@pytest.mark.slow
def test_the_connection_of_a_silent_camera_is_closed(serve, camera):
    with serve(live_pause_seconds=0.2) as one:
        socket = camera(one)
        hear(socket, "hello")
        assert json.loads(socket.recv(30))["type"] == "error"
        with pytest.raises(ConnectionClosed):
            socket.recv(30)
