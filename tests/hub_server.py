"""A loopback hub that takes uploads, as much of the Hugging Face hub's protocol as a push needs.

Files go in as LFS objects or inside the commit, as the answer to `preupload` says; a commit holds what it
says, and is refused without the token. Requests are kept in `requests`.
"""

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LARGE = (".safetensors", ".gguf")
COMMIT = "c0ffee" + "0" * 34


class HubServer:
    def __init__(self, token):
        self.token = token
        self.repositories = {}
        """By name: whether it is private, and its files."""
        self.objects = {}
        self.requests = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hub.requests.append((self.path, dict(self.headers)))
                if self.headers.get("Authorization") != f"Bearer {hub.token}":
                    return self.reply(401, {"error": f"Invalid token {self.headers.get('Authorization')}"})
                return self.reply(*hub.answer(self.path.partition("?")[0], body))

            def do_PUT(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hub.requests.append((self.path, dict(self.headers)))
                oid = self.path.rpartition("/")[2]
                assert hashlib.sha256(body).hexdigest() == oid
                hub.objects[oid] = body
                self.reply(200, {})

            def reply(self, status, value):
                body = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                """Nothing on standard error."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def answer(self, path, body):
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if name in self.repositories:
                return 409, {"error": "You already created this model repo", "url": f"{self.url}/{name}"}
            is_private = asked.get("private", asked.get("visibility") == "private")
            self.repositories[name] = {"private": is_private, "files": {}}
            return 200, {"url": f"{self.url}/{name}", "name": name}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        parts = path.strip("/").split("/")
        if path.endswith("/info/lfs/objects/batch"):
            asked = json.loads(body)["objects"]
            objects = [
                own | {"actions": {"upload": {"href": f"{self.url}/lfs/{own['oid']}"}}} for own in asked
            ]
            return 200, {"transfer": "basic", "objects": objects}
        if "preupload" in parts:
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, {"files": files}
        if "commit" in parts:
            self._commit(f"{parts[2]}/{parts[3]}", body)
            return 200, {
                "success": True,
                "commitOid": COMMIT,
                "commitUrl": f"{self.url}/{parts[2]}/{parts[3]}/commit/{COMMIT}",
            }
        return 404, {"error": f"no such path {path}"}

    def _commit(self, name, body):
        files = self.repositories[name]["files"]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            self._http.server_close()
            thread.join()
