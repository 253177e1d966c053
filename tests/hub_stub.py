"""A Hub on this machine: it speaks what huggingface_hub asks for, and is as bad as its attributes say."""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]


class Hub(ThreadingHTTPServer):
    """Repositories of files, each with one revision a name."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repositories: dict[str, dict[str, Files]] = {}
        """Name -> revision -> files."""
        self.private: set[str] = set()
        """Repositories for those alone who come with `token`."""
        self.read_only = False
        self.token = "hf_right"
        self.served: Files = {}
        """What is given in the place of a file, by name."""
        self.large: Files = {}
        """What was uploaded, by sha256."""
        self.status: int | None = None
        """What it answers to everything."""
        self.answer: bytes | None = None
        """What the API says instead of what it should."""
        self.asked: list[str] = []

    def add(self, repository: str, revision: str = "main", **files: bytes) -> None:
        """Adds a revision of a repository; `model.safetensors` is `model`."""
        named = {"model.safetensors" if name == "model" else name: content for name, content in files.items()}
        self.repositories.setdefault(repository, {})[revision] = named


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        length = int(self.headers.get("Content-Length") or 0)
        self._route(path.strip("/").split("/"), self.rfile.read(length))

    do_GET = do_HEAD = do_POST = do_PUT = _handle  # noqa: N815

    def _route(self, parts: list[str], body: bytes) -> None:
        hub = self.server
        if hub.status is not None:
            self._send(hub.status)
        elif hub.answer is not None:
            self._send(200, hub.answer)
        elif parts[:2] == ["api", "validate-yaml"]:
            self._json({"warnings": [], "errors": []})
        elif parts[:3] == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts[:2] == ["api", "models"] and self._allowed("/".join(parts[2:4])):
            self._api("/".join(parts[2:4]), parts[4:], body)
        elif parts[0] == "large":
            hub.large[parts[1]] = body
            self._send(200)
        elif parts[2:4] == ["info", "lfs"]:
            self._batch(json.loads(body))
        elif parts[2:3] == ["resolve"] and self._allowed("/".join(parts[:2])):
            self._file(hub.repositories["/".join(parts[:2])].get(parts[3]), "/".join(parts[4:]))

    def _allowed(self, repository: str) -> bool:
        """Whether it is there and may be read; else says so."""
        hub = self.server
        known = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if repository in hub.repositories and (known or repository not in hub.private):
            if self.command == "POST" and hub.read_only:
                self._send(403, b"{}")
                return False
            return True
        self._send(404 if known else 401, b"{}", {"X-Error-Code": "RepoNotFound"})
        return False

    def _create(self, wanted: dict[str, Any]) -> None:
        repository = f"{wanted['organization']}/{wanted['name']}"
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self._send(401, b"{}")
            return
        if wanted.get("visibility") == "private" or wanted.get("private"):
            self.server.private.add(repository)
        self.server.repositories.setdefault(repository, {"main": {}})
        self._json({"url": f"{self.server.url}/{repository}", "id": repository})

    def _api(self, repository: str, rest: list[str], body: bytes) -> None:
        revisions = self.server.repositories[repository]
        action, revision = (rest[0], "/".join(rest[1:])) if rest else ("revision", "main")
        if action == "refs":
            self._json({"branches": [], "converts": [], "tags": []})
        elif action == "branch":
            there = revision in revisions
            revisions.setdefault(revision, dict(revisions["main"]))
            self._send(409 if there else 200, b"{}")
        elif revision not in revisions:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif action == "revision":
            siblings = [_sibling(name, content) for name, content in revisions[revision].items()]
            self._json({"id": repository, "sha": _commit(revisions[revision]), "siblings": siblings})
        elif action == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            self._json({"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]})
        elif action == "commit":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    revisions[revision][value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    revisions[revision][value["path"]] = self.server.large[value["oid"]]
            commit = _commit(revisions[revision])
            self._json({"commitUrl": f"{self.server.url}/{repository}/commit/{commit}", "commitOid": commit})

    def _batch(self, wanted: dict[str, Any]) -> None:
        objects = [
            {**one, "actions": {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}}
            for one in wanted["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")

    def _file(self, files: Files | None, name: str) -> None:
        if files is None or name not in files:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound" if files is not None else "RevisionNotFound"})
            return
        digest = hashlib.sha256(files[name]).hexdigest()
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": _commit(files)}
        self._send(200, self.server.served.get(name, files[name]), headers)

    def _json(self, content: Any, kind: str = "application/json") -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": kind})

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _sibling(name: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    large = {"sha256": digest, "size": len(content), "pointerSize": 134}
    return {"rfilename": name, "size": len(content), "blobId": "0" * 40, "lfs": large}


def _commit(files: Files) -> str:
    return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
