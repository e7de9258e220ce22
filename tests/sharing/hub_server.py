"""A small Hugging Face Hub on the loopback interface: the endpoints that a download and an upload use."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit


class Hub:
    """Repositories in memory: name -> branch -> path -> content."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refused: set[str] = set()
        self.downloads: list[str] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def revision(self, repo: str, revision: str) -> dict[str, bytes] | None:
        branches = self.repos[repo]
        return next((files for name, files in branches.items() if revision in (name, commit_of(files))), None)


def commit_of(files: dict[str, bytes]) -> str:
    content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in sorted(files.items())})
    return hashlib.sha1(content.encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.0"  # a connection for each request, so that a closed hub is unreachable at once

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._get(body=False)

    def do_GET(self):
        self._get(body=True)

    def do_POST(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        if self.headers.get("Authorization") == "Bearer wrong":
            return self._send(401, {"error": "Invalid username or password."}, {"X-Error-Message": "Invalid token"})
        if path == "/api/validate-yaml":
            return self._send(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            asked = json.loads(content)
            repo = f"{asked.get('organization') or 'me'}/{asked['name']}"
            self.hub.repos.setdefault(repo, {"main": {}})
            return self._send(200, {"url": f"{self.hub.url}/{repo}", "name": repo})
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(branch|preupload|commit)/(.+)", path)
        if found is None or found[1] not in self.hub.repos:
            return self._missing("RepoNotFound")
        branches, action, revision = self.hub.repos[found[1]], found[2], found[3]
        if action == "branch":
            branches.setdefault(revision, dict(branches["main"]))
            return self._send(200, {})
        if revision not in branches:
            return self._missing("RevisionNotFound")
        if action == "preupload":
            files = json.loads(content)["files"]
            answer = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None} for f in files]
            return self._send(200, {"files": answer})
        for line in content.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                branches[revision][entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        commit = commit_of(branches[revision])
        return self._send(
            200, {"success": True, "commitOid": commit, "commitUrl": f"{self.hub.url}/{found[1]}/commit/{commit}"}
        )

    def _get(self, *, body: bool):
        path = unquote(urlsplit(self.path).path)
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if (api or file) is None:
            return self._send(404, {"error": "no such page"})
        repo = (api or file)[1]
        if repo in self.hub.refused:
            return self._send(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        if repo not in self.hub.repos:
            return self._missing("RepoNotFound")
        files = self.hub.revision(repo, (api[3] if api else file[2]) or "main")
        if files is None:
            return self._missing("RevisionNotFound")
        commit = commit_of(files)
        if api and api[2] == "tree":
            listed = [
                {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": name}
                for name, data in files.items()
            ]
            return self._send(200, listed)
        if api:
            names = [{"rfilename": name} for name in files]
            return self._send(200, {"id": repo, "modelId": repo, "sha": commit, "siblings": names, "tags": []})
        if file[3] not in files:
            return self._missing("EntryNotFound")
        if body:
            self.hub.downloads.append(file[3])
        data = files[file[3]]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": commit}
        return self._send(200, data, headers, body=body)

    def _missing(self, code: str):
        return self._send(404, {"error": code}, {"X-Error-Code": code})

    def _send(self, status: int, content, headers=None, *, body: bool = True):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)
