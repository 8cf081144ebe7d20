#!/usr/bin/env python3
"""A receiver of webhooks: checks the signature of each request, and keeps each change as one line of JSON in a file, once.

Usage: webhook.py FILE SECRETFILE [PORT]     listens on 127.0.0.1; prints the address, and then nothing

It takes both modes of the CloudEvents HTTP binding. Standard library only. What stands in FILE when the answer leaves is on disk.
"""
import hashlib, hmac, json, os, re, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOLERANCE = 300  # seconds that a request may be old: who recorded one cannot send it again for ever


def verified(secret, headers, body, now):
    """Whether the body, and every ce- header, was signed with the secret, not long ago."""
    given = re.fullmatch(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", headers.get("Eventful-Signature", ""))
    if given is None or abs(now - int(given[1])) > TOLERANCE:
        return False
    text = given[1].encode() + b"\n"
    for name, value in sorted((name.lower(), value) for name, value in headers.items()):
        if name.startswith("ce-"):
            text += f"{name}:{value}\n".encode()
    want = hmac.new(secret, text + b"\n" + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(want, given[2])  # takes as long for every wrong signature, so that none can be guessed bit by bit


def read_event(headers, body):
    """The CloudEvent, whichever mode it came in."""
    if headers.get("Content-Type", "").startswith("application/cloudevents+json"):
        return json.loads(body)
    event = {name.lower()[3:]: unquote(value) for name, value in headers.items() if name.lower().startswith("ce-")}
    event["data"] = json.loads(body)
    return event


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if not verified(self.server.secret, self.headers, body, time.time()):
            return self.answer(401, "the signature is wrong, or too old")
        event = read_event(self.headers, body)
        if event["aggregatetype"] != "eventful-test":  # that is plugin:test: nothing happened, and nothing is kept
            self.keep(event)
        self.answer(204)

    def keep(self, event):
        with self.server.lock:
            if event["id"] in self.server.seen:
                return
            if event.get("forgotten") in (True, "true"):
                self.forget(event["subject"], event["data"]["fields"])
                self.server.seen.add(event["id"])
                return
            line = {"subject": event["subject"], "version": int(event["aggregateversion"]), "type": event["eventtype"], "fields": event["data"]["fields"]}
            os.write(self.server.out, (json.dumps(line) + "\n").encode())
            os.fsync(self.server.out)
            self.server.seen.add(event["id"])

    def forget(self, subject, fields):
        """Writes the file anew without these fields of the aggregate: somebody had them forgotten (data:forget)."""
        path = self.server.path
        with open(path) as lines, open(path + ".new", "w", opener=lambda p, flags: os.open(p, flags, 0o600)) as new:
            for line in lines:
                kept = json.loads(line)
                if kept["subject"] == subject:
                    kept["fields"] = {name: value for name, value in kept["fields"].items() if name not in fields}
                new.write(json.dumps(kept) + "\n")
            new.flush()
            os.fsync(new.fileno())
        os.replace(path + ".new", path)
        os.close(self.server.out)
        self.server.out = os.open(path, os.O_APPEND | os.O_WRONLY)

    def answer(self, status, text=""):
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3]) if len(sys.argv) > 3 else 0), Receiver)
    with open(sys.argv[2], "rb") as f:
        server.secret = f.read().rstrip(b"\r\n")
    server.path = sys.argv[1]
    server.out = os.open(server.path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
    server.lock = threading.Lock()  # guards what follows
    server.seen = set()  # of this run; a receiver that may end keeps the ids, or the version of each aggregate, with what it does
    print(f"http://127.0.0.1:{server.server_port}/", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
