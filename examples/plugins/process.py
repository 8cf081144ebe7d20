#!/usr/bin/env python3
"""A plugin in Python, with the standard library alone: keeps the newest state of every aggregate in a file of JSON lines.

EventfulDB starts it as a child process:

    eventful config --plugin-programs=/path/to/process.py && eventful restart
    eventful plugin:config mirror --type=process --command="/path/to/process.py /path/to/mirror.ndjson"
    eventful plugin:enable mirror

One line of standard input is one CloudEvent; one line of standard output acknowledges it. An acknowledgement is written when the effect is on disk, so nothing is
lost when this program is killed; what was not acknowledged comes again, and the version tells what is known already.
"""
import json
import os
import sys


def load(path):
    """The newest version of each aggregate, as the file has it; a last line that was cut off by a crash is left out."""
    newest = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if line.endswith("\n"):
                    change = json.loads(line)
                    newest[change["aggregate"]] = change["version"]
    return newest


def cut(path):
    """Cuts off a last line that is not whole, so that the next one begins at its own place."""
    if not os.path.exists(path):
        return
    with open(path, "rb+") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def forget(path, aggregate, fields):
    """Writes the file anew without these fields of the aggregate: somebody had them forgotten (data:forget)."""
    with open(path, encoding="utf-8") as lines, open(path + ".new", "w", encoding="utf-8") as out:
        for line in lines:
            change = json.loads(line)
            if change["aggregate"] == aggregate:
                change["fields"] = {name: value for name, value in change["fields"].items() if name not in fields}
            out.write(json.dumps(change) + "\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(path + ".new", path)


def main():
    path = sys.argv[1]
    cut(path)
    newest = load(path)
    out = open(path, "a", encoding="utf-8")
    for line in sys.stdin:
        event = json.loads(line)
        acknowledgement = {"id": event["id"], "status": "done"}
        aggregate, version = event["subject"], int(event["aggregateversion"])
        if event["aggregatetype"] == "eventful-test":
            pass  # `eventful plugin:test`: nothing happened, and nothing is kept
        elif event.get("forgotten"):
            out.close()
            forget(path, aggregate, event["data"]["fields"])
            out = open(path, "a", encoding="utf-8")
        elif version > newest.get(aggregate, 0):
            change = {"aggregate": aggregate, "version": version, "event": event["eventtype"], "fields": event["data"]["fields"]}
            out.write(json.dumps(change) + "\n")
            out.flush()
            os.fsync(out.fileno())
            newest[aggregate] = version
        print(json.dumps(acknowledgement), flush=True)


if __name__ == "__main__":
    main()
