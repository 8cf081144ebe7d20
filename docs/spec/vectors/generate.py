#!/usr/bin/env python3
"""Writes the test vectors of log.md, subjects.md and commands.md into this directory, the same bytes on every run.

    python3 generate.py

The encoder here is its own reading of the spec. At the end the vectors are run through the reader of ../verify.py.
Standard library only.
"""

import base64
import copy
import hashlib
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Encoder. Where a str is taken, bytes may stand too, to write what is not UTF-8. Where an integer is written as uv,
# bytes stand for themselves, to write a uv that breaks the rules.


def uv(n):
    if isinstance(n, bytes):
        return n
    groups = [n & 0x7F]
    while n := n >> 7:
        groups.append(n & 0x7F)
    return bytes([g | 0x80 for g in groups[:-1]] + groups[-1:])


def raw(value):
    return value.encode("utf-8") if isinstance(value, str) else value


def lp(value):
    return uv(len(raw(value))) + raw(value)


def u8(n):
    return bytes([n])


def u32(n):
    return n.to_bytes(4, "big")


def u64(n):
    return n.to_bytes(8, "big")


def time8(t):
    return t.to_bytes(8, "big", signed=True)


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def fixed_id(label):
    return sha(b"vector id ", label.encode())[:16]


def fixed_hash(label):
    return sha(b"vector hash ", label.encode())


def join(segments):
    return b"".join(data for _, data in segments)


def mth(leaves):
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return sha(b"\1", mth(leaves[:k]), mth(leaves[k:]))


def frontier(leaves):
    out, start = [], 0
    for bit in reversed(range(len(leaves).bit_length())):
        if len(leaves) >> bit & 1:
            out.append(mth(leaves[start : start + (1 << bit)]))
            start += 1 << bit
    return out


# A payload is a list of (name, kind, value); a commit and a block are dicts. Segments are (what, bytes) in order, so
# that a vector can cut or change the bytes at a field.


def payload_segments(fields, count=None):
    out = [("field count", uv(len(fields) if count is None else count))]
    for i, (name, kind, value) in enumerate(fields):
        out += [(f"name {i}", lp(name)), (f"kind {i}", u8(kind)), (f"value {i}", lp(value))]
    return out


def payload(*fields):
    return join(payload_segments(fields))


def digest_of(salt, data):
    return sha(b"eventful.payload.v1\0", salt, data)


SALT = bytes(range(16))
T0 = 1767323045000000006  # 2026-01-02T03:04:05.000000006Z
OCCURRED = 1413977220000000000  # 2014-10-22T11:27:00Z
WORKED_FIELDS = [("crp", 1, "21.0"), ("unit", 1, "mg/l")]


def event(**changes):
    e = {
        "event": "crp",
        "schema_digest": fixed_hash("schema"),
        "schema_version": 1,
        "salt": SALT,
        "occurred_at": None,
        "payload": payload(*WORKED_FIELDS),
    }
    return {**e, **changes}


def commit(**changes):
    label = changes.pop("label", "commit")
    c = {
        "layout": 1,
        "commit_id": fixed_id(label),
        "site": "main",
        "branch": 0,
        "command_id": f"cmd-{fixed_id(label).hex()[:8]}",
        "command_digest": fixed_hash(f"command {label}"),
        "type": "patient",
        "id": "A",
        "first_version": 1,
        "root": None,
        "actor": "user:ada",
        "token_id": "TOKEN1",
        "issuer": "ISSUER1",
        "correlation": "",
        "causation": "",
        "traceparent": "",
        "transaction_id": fixed_id(label),
        "transaction_index": 0,
        "transaction_count": 1,
        "writer_time": T0,
        "key_commitment": b"",
        "event_count": None,
        "events": [event()],
    }
    unknown = set(changes) - set(c)
    assert not unknown, unknown
    return {**c, **changes}


def flagged_time(t):
    if isinstance(t, bytes):
        return t
    return b"\0" if t is None else b"\1" + time8(t)


def commit_segments(c):
    count = len(c["events"]) if c["event_count"] is None else c["event_count"]
    out = [
        ("layout version", u8(c["layout"])),
        ("commit id", c["commit_id"]),
        ("origin site", lp(c["site"])),
        ("branch", uv(c["branch"])),
        ("command id", lp(c["command_id"])),
        ("command digest", c["command_digest"]),
        ("aggregate type", lp(c["type"])),
        ("aggregate id", lp(c["id"])),
        ("first version", uv(c["first_version"])),
        ("aggregate root", c["root"] or fixed_hash("no root")),
        ("actor", lp(c["actor"])),
        ("token id", lp(c["token_id"])),
        ("issuer", lp(c["issuer"])),
        ("correlation", lp(c["correlation"])),
        ("causation", lp(c["causation"])),
        ("traceparent", lp(c["traceparent"])),
        ("transaction id", c["transaction_id"]),
        ("transaction index", uv(c["transaction_index"])),
        ("transaction count", uv(c["transaction_count"])),
        ("writer time", time8(c["writer_time"])),
        ("key commitment", lp(c["key_commitment"])),
        ("number of events", uv(count)),
    ]
    for i, e in enumerate(c["events"]):
        out += [(f"{what} of event {i}", data) for what, data in event_segments(e)]
    return out


def event_segments(e):
    return [
        ("event type", lp(e["event"])),
        ("schema digest", e["schema_digest"]),
        ("schema version", uv(e["schema_version"])),
        ("salt", e["salt"]),
        ("occurred-at", flagged_time(e["occurred_at"])),
        ("payload", lp(e["payload"])),
    ]


def encode_commit(c):
    return join(commit_segments(c))


LEAF_FROM_COMMIT = (
    *("site", "branch", "type", "id", "writer_time", "actor", "token_id", "issuer", "command_id", "correlation"),
    *("causation", "traceparent", "transaction_id", "transaction_index", "transaction_count", "key_commitment"),
)


def leaf_fields(c, i):
    e = c["events"][i]
    return {
        **{name: c[name] for name in LEAF_FROM_COMMIT},
        "version": c["first_version"] + i,
        "event": e["event"],
        "schema_digest": e["schema_digest"],
        "payload_digest": digest_of(e["salt"], e["payload"]),
        "occurred_at": e["occurred_at"],
        "event_index": i,
        "event_count": len(c["events"]),
    }


def leaf_entry(f):
    return join(leaf_segments(f))


def leaf_segments(f):
    return [
        ("domain", b"eventful.event.v1\0"),
        ("origin site", lp(f["site"])),
        ("branch", uv(f["branch"])),
        ("aggregate type", lp(f["type"])),
        ("aggregate id", lp(f["id"])),
        ("version", uv(f["version"])),
        ("event type", lp(f["event"])),
        ("schema digest", f["schema_digest"]),
        ("payload digest", f["payload_digest"]),
        ("occurred-at", flagged_time(f["occurred_at"])),
        ("writer time", time8(f["writer_time"])),
        ("actor", lp(f["actor"])),
        ("token id", lp(f["token_id"])),
        ("issuer", lp(f["issuer"])),
        ("command id", lp(f["command_id"])),
        ("correlation", lp(f["correlation"])),
        ("causation", lp(f["causation"])),
        ("traceparent", lp(f["traceparent"])),
        ("transaction id", f["transaction_id"]),
        ("transaction index", uv(f["transaction_index"])),
        ("transaction count", uv(f["transaction_count"])),
        ("index of the event", uv(f["event_index"])),
        ("number of events", uv(f["event_count"])),
        ("key commitment", lp(f["key_commitment"])),
    ]


def leaf_hash(f):
    return sha(b"\0", leaf_entry(f))


def leaves_of(c):
    return [leaf_hash(leaf_fields(c, i)) for i in range(len(c["events"]))]


def rooted(c, before=()):
    """The commit with the root that its leaves, behind those before it, have."""
    return {**c, "root": mth(list(before) + leaves_of(c))}


def block_segments(b):
    records = b["records"]
    ends, at = [], 0
    for record in records:
        at += len(record)
        ends.append(at)
    ends = b["ends"] if b["ends"] is not None else ends
    out = [
        ("magic", b["magic"]),
        ("format version", u8(b["format"])),
        ("block id", b["block_id"]),
        ("previous block", b["previous"]),
        ("writer epoch", u64(b["epoch"])),
        ("system sequence", u64(b["system_sequence"])),
        ("system block", b["system_block"]),
        ("log tree size", u64(b["tree_size"])),
        ("log tree root", b["tree_root"]),
        ("writer time", time8(b["time"])),
        ("number of commits", u32(len(ends) if b["count"] is None else b["count"])),
    ]
    out += [(f"end offset {i}", u32(end)) for i, end in enumerate(ends)]
    return out + [(f"record {i}", record) for i, record in enumerate(records)]


def encode_block(b):
    return join(block_segments(b))


ZERO16 = bytes(16)


def encode_record(record):
    sequence, index, block, c = record
    return u64(sequence) + u32(index) + block + encode_commit(c)


class Log:
    """A log as a writer grows it. `fork` it to make a block that will not count."""

    def __init__(self, sequence=0):
        self.sequence, self.previous, self.epoch, self.time = sequence, ZERO16, 1, T0 - 10**9
        self.leaves, self.heads, self.exported = [], {}, []
        self.made = 0

    def fork(self):
        return copy.deepcopy(self)

    def block(self, *commits, label=None, skip=0, **changes):
        """Appends a block; returns it as a dict. Changes replace what the block would state."""
        self.sequence += 1 + skip
        self.made += 1
        label = label or f"block {self.made}"
        block_id = changes.get("block_id", fixed_id(label))
        time = changes.get("time", self.time + 10**9)
        parsed = [self.record(c, i, block_id, time) for i, c in enumerate(commits)]
        b = {
            "magic": b"EVB",
            "format": 1,
            "block_id": block_id,
            "previous": self.previous,
            "epoch": self.epoch,
            "system_sequence": 0,
            "system_block": ZERO16,
            "tree_size": len(self.leaves),
            "tree_root": mth(self.leaves),
            "time": time,
            "count": None,
            "ends": None,
            "records": [encode_record(record) for record in parsed],
            "parsed": parsed,
            "sequence": self.sequence,
        }
        b.update(changes)
        self.previous, self.time, self.epoch = block_id, b["time"], b["epoch"]
        return b

    def record(self, c, index, block_id, time):
        key = (c["type"], c["id"])
        leaves, link = self.heads.get(key, ([], (0, 0, ZERO16)))
        c = rooted({**c, "first_version": len(leaves) + 1, "writer_time": time}, leaves)
        new = leaves_of(c)
        self.leaves += new
        self.heads[key] = (leaves + new, (self.sequence, index, block_id))
        self.exported.append((key, (self.sequence, index, block_id), c, new))
        return (*link, c)


def transaction(label, *commits):
    out = []
    for i, c in enumerate(commits):
        out.append({**c, "transaction_id": fixed_id(label), "transaction_index": i, "transaction_count": len(commits)})
    return out


# Notation of the vectors.

STRINGS = {
    *("branch", "version", "first_version", "schema_version", "occurred_at", "writer_time", "time", "epoch"),
    *("transaction_index", "transaction_count", "tree_size", "sequence", "system_sequence", "link_sequence"),
}


def shown(value, name=""):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (list, tuple)):
        return [shown(v) for v in value]
    if isinstance(value, dict):
        return {k: shown(v, k) for k, v in value.items()}
    return str(value) if name in STRINGS and value is not None else value


def shown_fields(fields):
    return [{"name": name, "kind": kind, "value": value} for name, kind, value in fields]


def bad(name, data, error, **more):
    return {"name": name, "hex": data.hex(), "ok": False, "error": error, **more}


def truncations(segments, prefix):
    """The bytes cut before each field and, where it has more than one byte, in its middle."""
    out = []
    for i, (what, data) in enumerate(segments):
        out.append((f"{prefix} truncated before {what}", join(segments[:i]), f"{what} is missing"))
        if len(data) > 1:
            half = join(segments[:i]) + data[: len(data) // 2]
            out.append((f"{prefix} truncated in {what}", half, f"{what} is cut"))
    return out


NOT_UTF8 = {
    "a lone continuation byte": b"\x80",
    "a byte that never occurs": b"\xff",
    "an overlong slash": b"\xc0\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "a code point above U+10FFFF": b"\xf4\x90\x80\x80",
    "a cut sequence": b"\xe2\x82",
}
BAD_UV = {
    "0 in two bytes": (b"\x80\x00", "uv is not in its shortest form"),
    "1 in two bytes": (b"\x81\x00", "uv is not in its shortest form"),
    "1 in ten bytes": (b"\x81" + b"\x80" * 8 + b"\x00", "uv is not in its shortest form"),
    "2^64": (b"\x80" * 9 + b"\x02", "uv is 2^64 or more"),
    "11 bytes": (b"\xff" * 10 + b"\x01", "uv is 2^64 or more"),
    "without an end": (b"\x80", "uv is cut"),
}


# payload.json


def good_payload(name, fields, salt=SALT):
    data = payload(*fields)
    digest = digest_of(salt, data)
    return {
        "name": name,
        "hex": data.hex(),
        "ok": True,
        "fields": shown_fields(fields),
        "salt": salt.hex(),
        "digest": digest.hex(),
    }


def payload_vectors():
    out = [
        good_payload("worked-example", WORKED_FIELDS),
        good_payload("no fields", []),
        good_payload("no fields, another salt", [], fixed_id("salt")),
        good_payload("one unset field", [("crp", 0, "")]),
        good_payload("one empty text", [("crp", 1, "")]),
        good_payload("set and unset", [("a", 1, "x"), ("b", 0, ""), ("c", 1, "y")]),
        good_payload("upper case sorts before lower case", [("B", 1, "1"), ("a", 1, "2")]),
        good_payload("underscore sorts between", [("AZ", 1, "1"), ("A_", 1, "2"), ("Aa", 1, "3")]),
        good_payload("a prefix sorts first", [("a", 1, "1"), ("a0", 1, "2"), ("aa", 1, "3")]),
        good_payload("numbers as they were sent", [("a", 1, "1.10"), ("b", 1, "9007199254740993"), ("c", 1, "1e400")]),
        good_payload("unicode value", [("note", 1, "Größe 5 µm \U0001f9ea")]),
        good_payload("value not in form C", [("note", 1, "A\u030a")]),
        good_payload("control characters in a value", [("note", 1, "a\0b\r\n\t\x7f\x85")]),
        good_payload("value of 127 bytes", [("note", 1, "x" * 127)]),
        good_payload("value of 128 bytes", [("note", 1, "x" * 128)]),
        good_payload("value of 16384 bytes", [("note", 1, "x" * 16384)]),
        good_payload("name of 64 bytes", [("n" * 64, 1, "v")]),
        good_payload("1024 fields", [(f"f{i:04}", 1, "") for i in range(1024)]),
    ]
    return out + bad_payloads() + sealed_payloads()


def sealed(flags=0, keyed_hash=b"", nonce=bytes(range(12)), ciphertext=bytes(range(100, 120)), layout=1):
    """The value of a sealed field. No key opens these."""
    return base64url(u8(layout) + u8(flags) + keyed_hash + nonce + ciphertext)


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sealed_payloads():
    keyed = fixed_hash("keyed")
    good_values = {
        "sealed value": sealed(),
        "sealed value, compressed": sealed(1),
        "sealed value with a keyed hash": sealed(2, keyed),
        "sealed value, compressed, with a keyed hash": sealed(3, keyed),
        "sealed value of an empty text": sealed(ciphertext=bytes(16)),
        "sealed value, one byte over a group": sealed(ciphertext=bytes(17)),
        "sealed value, two bytes over a group": sealed(ciphertext=bytes(18)),
    }
    out = [good_payload(name, [("name", 2, value), ("unit", 1, "mg/l")]) for name, value in good_values.items()]
    bad_values = {
        "sealed value: nothing": ("", "no layout"),
        "sealed value: text": ("Ada Lovelace", "not base64url"),
        "sealed value: padded": (sealed(ciphertext=bytes(17)) + "=", "not base64url without padding"),
        "sealed value: base64": (sealed(ciphertext=b"\xff" * 18).replace("_", "/"), "not base64url"),
        "sealed value: a line break": (sealed()[:8] + "\n" + sealed()[8:], "not base64url"),
        "sealed value: one character over a group": (sealed(ciphertext=bytes(16)) + "A", "not base64url"),
        "sealed value: last bits set": (sealed(ciphertext=bytes(17))[:-1] + "B", "the last bits are not zero"),
        "sealed value: layout 0": (sealed(layout=0), "unknown layout"),
        "sealed value: layout 2": (sealed(layout=2), "unknown layout"),
        "sealed value: flag 4": (sealed(4), "unknown flags"),
        "sealed value: flag 128": (sealed(128), "unknown flags"),
        "sealed value: tag cut": (sealed(ciphertext=bytes(15)), "less than a tag"),
        "sealed value: nonce cut": (base64url(b"\1\0" + bytes(11)), "nonce is cut"),
        "sealed value: keyed hash missing": (sealed(2, ciphertext=bytes(16)), "less than hash, nonce and tag"),
        "sealed value: keyed hash cut": (sealed(2, keyed[:31], ciphertext=bytes(16)), "less than hash, nonce and tag"),
    }
    out += [bad(name, payload(("name", 2, value)), error) for name, (value, error) in bad_values.items()]
    out.append(bad("sealed value: not UTF-8", payload(("name", 2, raw(sealed()) + b"\xff")), "value is not UTF-8"))
    out.append(bad("kind 3", payload(("a", 3, sealed())), "kind is none of 0, 1 and 2"))
    return out


def bad_payloads():
    segments = payload_segments(WORKED_FIELDS)
    good = join(segments)
    out = [bad(name, data, error) for name, data, error in truncations(segments, "payload")]
    out += [
        bad("trailing byte", good + b"\0", "a byte is left over"),
        bad("trailing byte behind no fields", b"\0\0", "a byte is left over"),
        bad("count one too few", join(payload_segments(WORKED_FIELDS, 1)), "bytes are left over"),
        bad("count one too many", join(payload_segments(WORKED_FIELDS, 3)), "a field is missing"),
        bad("1025 fields", payload(*[(f"f{i:04}", 1, "") for i in range(1025)]), "more than 1,024 fields"),
        bad("count of 2^64-1", uv(2**64 - 1) + good[1:], "more than 1,024 fields"),
        bad("names descend", payload(("b", 1, ""), ("a", 1, "")), "names are not ascending"),
        bad("name twice", payload(("a", 1, "x"), ("a", 1, "y")), "names are not ascending"),
        bad("name twice, one unset", payload(("a", 0, ""), ("a", 1, "y")), "names are not ascending"),
        bad("lower case before upper case", payload(("a", 1, ""), ("B", 1, "")), "names are not ascending"),
        bad("kind 2", payload(("a", 2, "x")), "kind is neither 0 nor 1"),
        bad("kind 255", payload(("a", 255, "")), "kind is neither 0 nor 1"),
        bad("unset with a value", payload(("a", 0, "x")), "an unset field has a value"),
        bad("value longer than the rest", payload(("a", 1, "x"))[:-2] + uv(2) + b"x", "value is cut"),
        bad("value length of 2^64-1", payload(("a", 1, ""))[:-1] + uv(2**64 - 1), "value is cut"),
    ]
    for name in ("", "0a", "_a", "a-b", "a b", "a.b", "é", "a\n", "a\0", "n" * 65):
        label = f"name of {len(name)} bytes" if len(name) > 9 else f"name {ascii(name)}"
        out.append(bad(label, payload((name, 1, "v")), "not a field name"))
    for what, data in NOT_UTF8.items():
        out.append(bad(f"value not UTF-8: {what}", payload(("a", 1, b"x" + data)), "value is not UTF-8"))
    out.append(bad("name not UTF-8", payload((b"a\xff", 1, "v")), "name is not UTF-8"))
    for what, (data, error) in BAD_UV.items():
        out.append(bad(f"count as uv {what}", data + (b"" if "end" in what else good[1:]), f"field count: {error}"))
    out.append(bad("name length not minimal", b"\1\x81\0a\1\0", "name length: uv is not in its shortest form"))
    out.append(bad("value length not minimal", b"\1\1a\1\x80\0", "value length: uv is not in its shortest form"))
    return out


# leaf.json


def worked_commit():
    return rooted(
        commit(
            label="worked-example",
            command_id="cmd-1",
            commit_id=bytes(range(0x10, 0x20)),
            transaction_id=bytes(range(0x10, 0x20)),
            command_digest=fixed_hash("command worked-example"),
            events=[
                event(occurred_at=OCCURRED),
                event(salt=bytes(range(0x20, 0x30)), payload=payload(("crp", 1, "3.4"), ("unit", 0, ""))),
                event(event="discharged", salt=bytes(range(0x30, 0x40)), payload=payload()),
            ],
        )
    )


UNICODE_IDS = {
    "a star": "*",
    "greater than": ">",
    "an emoji": "\U0001f9ea",
    "an emoji of several code points": "\U0001f469\u200d\U0001f52c",
    "a path": "../../etc",
    "dots and spaces": " . .. ",
    "umlauts in form C": "K\u00f6nig",
    "Hangul in form C": "\ud55c\uae00",
    "a combining mark that does not compose": "q\u0308",
    "right-to-left text": "\u05d0\u05d1",
    "a line separator": "a\u2028b",
    "a byte order mark": "\ufeffA",
    "a noncharacter": "\uffff",
    "quotes and a backslash": "\"'\\`$(x)",
    "128 bytes": "x" * 128,
    "128 bytes of two-byte characters": "\u00e9" * 64,
}


def good_leaf(name, c, i=0, **more):
    f = leaf_fields(c, i)
    entry = leaf_entry(f)
    return {"name": name, **shown(f), **more, "entry": entry.hex(), "leaf": sha(b"\0", entry).hex()}


def leaf_vectors():
    worked = worked_commit()
    names = ["worked-example", "worked-example, version 2", "worked-example, version 3"]
    out = [good_leaf(name, worked, i) for i, name in enumerate(names)]
    everything = commit(
        label="everything",
        branch=300,
        first_version=2**53 + 1,
        actor="user:\u00e9ve",
        correlation="order \u2116 7",
        causation="cmd-0",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        transaction_id=fixed_id("transaction"),
        transaction_index=1,
        transaction_count=3,
        key_commitment=fixed_hash("key"),
        events=[event(), event(occurred_at=OCCURRED)],
    )
    out.append(good_leaf("everything given, first event", everything, 0))
    out.append(good_leaf("everything given, second event", everything, 1))
    for what, time in (("negative", -1), ("zero", 0), ("earliest", -(2**63)), ("latest", 2**63 - 1)):
        out.append(good_leaf(f"occurred-at {what}", commit(events=[event(occurred_at=time)])))
    out.append(good_leaf("writer time negative", commit(writer_time=-5)))
    out.append(good_leaf("version of two bytes", commit(first_version=128)))
    out.append(good_leaf("largest version", commit(first_version=2**63 - 2)))
    out.append(good_leaf("largest branch", commit(branch=2**64 - 1)))
    out.append(good_leaf("largest transaction count", commit(transaction_index=2**64 - 2, transaction_count=2**64 - 1)))
    out.append(good_leaf("no fields", commit(events=[event(payload=payload())])))
    out += [good_leaf(f"id: {what}", commit(id=id_)) for what, id_ in UNICODE_IDS.items()]
    many = commit(events=[event()] * 4096)
    out.append(good_leaf("last of 4096 events", many, 4095))
    return out


# tree.json


RFC6962_INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
RFC6962_ROOT_OF_8 = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def tree_vectors():
    """The first eight leaves are those of the reference test of Certificate Transparency, so its roots apply."""
    inputs = [bytes.fromhex(x) for x in RFC6962_INPUTS] + [bytes([0x70 + i]) * i for i in range(1, 6)]
    leaves = [sha(b"\0", data) for data in inputs]
    assert mth(leaves[:8]).hex() == RFC6962_ROOT_OF_8
    sets = [(f"{n} leaves", leaves[:n]) for n in (0, 1, 2, 3, 4, 5, 7, 8, 13)]
    sets.append(("worked-example", leaves_of(worked_commit())))
    return [
        {"name": name, "leaves": shown(x), "root": mth(x).hex(), "frontier": shown(frontier(x))} for name, x in sets
    ]


# commit.json


def describe(c):
    """The decoded commit in the notation of the vectors."""
    out = {name: shown(value, name) for name, value in c.items() if name not in ("layout", "event_count", "events")}
    out["events"] = []
    for e in c["events"]:
        fields = read_back(e["payload"])
        out["events"].append({**shown(e), "fields": shown_fields(fields)})
    return out


def read_back(data):
    """The fields of a payload that this program made: its lengths are of at most two bytes."""

    def length():
        nonlocal at
        n, at = data[at], at + 1
        if n & 0x80:
            n, at = n & 0x7F | data[at] << 7, at + 1
        return n

    def string():
        nonlocal at
        n = length()
        at += n
        return data[at - n : at].decode()

    at, fields = 0, []
    for _ in range(length()):
        name, kind = string(), data[at]
        at += 1
        fields.append((name, kind, string()))
    return fields


def good_commit(name, c, before=()):
    """before: the leaf hashes of the versions before it; None: not given, and then no root is checked."""
    if c["root"] is None:
        c = rooted(c, before or ()) if before is not None else {**c, "root": fixed_hash("no root")}
    leaves = leaves_of(c)
    after = None if before is None else mth(list(before) + leaves).hex()
    before = None if before is None else shown(list(before))
    head = {"name": name, "hex": encode_commit(c).hex(), "ok": True}
    return {**head, **describe(c), "leaves": shown(leaves), "before": before, "root_after": after}


def commit_vectors():
    earlier = [fixed_hash(f"earlier leaf {i}") for i in range(5)]
    worked = worked_commit()
    tx = dict(transaction_id=fixed_id("transaction"), transaction_count=3)
    out = [
        good_commit("worked-example", worked),
        good_commit("behind the worked example", commit(first_version=4), leaves_of(worked)),
        good_commit("behind five versions", commit(first_version=6, events=[event(), event()]), earlier),
        good_commit("event without fields", commit(events=[event(payload=payload())])),
        good_commit("unset field", commit(events=[event(payload=payload(("crp", 0, "")))])),
        good_commit("negative occurred-at", commit(events=[event(occurred_at=-1)])),
        good_commit("earliest and latest time", commit(writer_time=-(2**63), events=[event(occurred_at=2**63 - 1)])),
        good_commit("first of a transaction", commit(transaction_index=0, **tx)),
        good_commit("last of a transaction", commit(transaction_index=2, **tx)),
        good_commit("key commitment", commit(key_commitment=fixed_hash("key"))),
        good_commit(
            "branch and schema version of several bytes", commit(branch=300, events=[event(schema_version=129)])
        ),
        good_commit(
            "correlation, causation, traceparent",
            commit(correlation="\u2116 7", causation="c", traceparent="00-a-b-01"),
        ),
        good_commit("names at their limits", commit(site="s" * 20, type="t" * 40, events=[event(event="e" * 64)])),
        good_commit("one-letter names", commit(site="s", type="t", events=[event(event="e")])),
        good_commit("names with digits and signs", commit(site="a-0", type="a_-0", events=[event(event="a_-0")])),
        good_commit("reserved type", commit(type="eventful-schema")),
        good_commit("texts at their limits", commit(**longest_texts())),
        good_commit("actor of two characters beside the colon", commit(actor="u:a")),
        good_commit("actor with colons in its identifier id", commit(actor="user::a:")),
        good_commit("id with an unassigned code point", commit(id="A\U000effff")),
        good_commit("largest first version", commit(first_version=2**63 - 2), None),
        good_commit("largest last version", commit(first_version=2**63 - 3, events=[event(), event()]), None),
        good_commit("first version beyond 2^53", commit(first_version=2**53 + 1), None),
        good_commit("events of different types", commit(events=[event(event=t) for t in ("a", "b", "a")])),
        good_commit("a root that is not that of its leaves decodes", commit(root=fixed_hash("another root"))),
    ]
    out += [good_commit(f"id: {what}", commit(id=id_)) for what, id_ in UNICODE_IDS.items()]
    return out + bad_commits() + sealed_commits()


def sealed_commits():
    secret = event(payload=payload(("name", 2, sealed())))
    key = dict(key_commitment=fixed_hash("key"))
    broken = event(payload=payload(("name", 2, sealed(layout=2))))
    return [
        good_commit("sealed field", commit(events=[secret], **key)),
        good_commit("one event of two with a sealed field", commit(events=[event(), secret], **key)),
        bad("sealed field without a key commitment", encode_commit(commit(events=[secret])), "no key commitment"),
        bad("sealed field behind others without one", encode_commit(commit(events=[event(), secret])), "no key commitment"),
        bad("sealed field of layout 2", encode_commit(commit(events=[broken], **key)), "unknown layout"),
    ]


def longest_texts():
    texts = {"command_id": "!" + "~" * 127, "actor": "u:" + "\u00e9" * 127, "token_id": "~" * 64, "issuer": "!" * 64}
    return {**texts, "correlation": "\u00e9" * 64, "causation": " " * 128, "traceparent": "0" * 128}


def bad_commits():
    segments = commit_segments(rooted(commit(events=[event(occurred_at=OCCURRED), event()])))
    good = join(segments)
    out = [bad(name, data, error) for name, data, error in truncations(segments, "commit")]
    out.append(bad("trailing byte", good + b"\0", "a byte is left over"))

    def case(name, error, **changes):
        out.append(bad(name, encode_commit(commit(**changes)), error))

    bad_commit_numbers(case)
    bad_commit_names(case)
    bad_commit_texts(case)
    bad_commit_events(case)
    return out


def bad_commit_numbers(case):
    for layout in (0, 2, 255):
        case(f"layout version {layout}", "unknown layout version", layout=layout)
    for name in ("branch", "first_version", "transaction_index", "transaction_count", "event_count"):
        for what, (data, error) in BAD_UV.items():
            if "end" not in what:
                case(f"{name} as uv {what}", f"{name}: {error}", **{name: data})
    tx = dict(transaction_id=fixed_id("transaction"))
    case(
        "transaction index equals the count",
        "index is not less than the count",
        transaction_index=3,
        transaction_count=3,
        **tx,
    )
    case(
        "transaction index above the count",
        "index is not less than the count",
        transaction_index=4,
        transaction_count=3,
        **tx,
    )
    case("transaction index 1 of 1", "index is not less than the count", transaction_index=1)
    case("transaction count 0", "index is not less than the count", transaction_count=0)
    case("count 1, transaction id not the commit id", "transaction id is not the commit id", **tx)
    case("first version 0", "first version is below 1", first_version=0)
    case("first version 2^63-1", "first version is above 2^63-2", first_version=2**63 - 1)
    case("first version 2^63", "first version is above 2^63-2", first_version=2**63)
    case("first version 2^64-1", "first version is above 2^63-2", first_version=2**64 - 1)
    case(
        "two events at 2^63-2",
        "last version is above 2^63-2",
        first_version=2**63 - 2,
        events=[event()] * 2,
    )
    case("0 events", "no event", events=[])
    case("event count one too many", "an event is missing", event_count=2)
    case("event count one too few", "bytes are left over", event_count=1, events=[event(), event()])
    case("event count 2^64-1", "more than 4,096 events", event_count=2**64 - 1)
    for size in (1, 31, 33, 64):
        case(f"key commitment of {size} bytes", "key commitment is not of 0 or 32 bytes", key_commitment=bytes(size))


def bad_commit_names(case):
    for site in ("", "Main", "0main", "-main", "ma_in", "ma.in", "main\n", "s" * 21, "m\u00e4in"):
        case(f"site {label(site)}", "not a site", site=site)
    for type_ in ("", "Patient", "0patient", "_patient", "pa.tient", "pa tient", "patient\n", "t" * 41, "p\u00e4tient"):
        case(f"type {label(type_)}", "not an aggregate type", type=type_)
    for name in ("", "CRP", "0crp", "-crp", "c.rp", "crp\n", "crp\0", "e" * 65):
        case(f"event type {label(name)}", "not an event type", events=[event(event=name)])
    case("site not UTF-8", "site is not UTF-8", site=b"main\xff")
    case("type not UTF-8", "type is not UTF-8", type=b"patient\xff")
    case("event type not UTF-8", "event type is not UTF-8", events=[event(event=b"crp\xff")])


def label(value):
    return f"of {len(value)} characters" if len(value) > 20 else ascii(value)


CONTROLS = {"NUL": "\0", "line feed": "\n", "U+001F": "\x1f", "DEL": "\x7f", "U+0080": "\x80", "U+009F": "\x9f"}


def bad_commit_texts(case):
    for what, id_ in {
        "A and combining ring": "A\u030a",
        "Angstrom sign": "\u212b",
        "Hangul jamo": "\u1112\u1161\u11ab",
    }.items():
        case(f"id not in form C: {what}", "id is not in normalisation form C", id=id_)
    case("id empty", "id is empty", id="")
    case("id of 129 bytes", "id is longer than 128 bytes", id="x" * 129)
    case("id of 129 bytes in 65 characters", "id is longer than 128 bytes", id="\u00e9" * 64 + "x")
    for name in ("id", "actor", "correlation", "causation"):
        for what, ch in CONTROLS.items():
            case(f"{name} with {what}", f"{name} has a control character", **{name: f"a:{ch}b"})
        for what, data in NOT_UTF8.items():
            case(f"{name} not UTF-8: {what}", f"{name} is not UTF-8", **{name: b"a:" + data})
    case("actor empty", "actor is empty", actor="")
    case("actor without a colon", "actor has no colon", actor="ada")
    for actor in (":", ":ada", "user:", "::ada"):
        case(f"actor {actor!r}", "identifier type or identifier id is empty", actor=actor)
    case("actor of 257 bytes", "actor is longer than 256 bytes", actor="u:" + "x" * 255)
    case("correlation of 129 bytes", "correlation is longer than 128 bytes", correlation="x" * 129)
    case("causation of 129 bytes", "causation is longer than 128 bytes", causation="x" * 129)
    for name, limit in (("command_id", 128), ("token_id", 64), ("issuer", 64), ("traceparent", 128)):
        case(f"{name} of {limit + 1} bytes", f"{name} is longer than {limit} bytes", **{name: "x" * (limit + 1)})
        for ch in (" ", "\0", "\x7f", "\u00e9"):
            case(f"{name} with {ascii(ch)}", f"{name} has a byte outside 0x21 to 0x7E", **{name: f"a{ch}b"})
        case(f"{name} not UTF-8", f"{name} has a byte outside 0x21 to 0x7E", **{name: b"a\xff"})
        if name != "traceparent":
            case(f"{name} empty", f"{name} is empty", **{name: ""})


def bad_commit_events(case):
    for flag in (2, 255):
        data = u8(flag) + time8(OCCURRED)
        case(f"occurred-at flag {flag}", "flag is neither 0 nor 1", events=[event(occurred_at=data)])
    case("occurred-at flag 0 with a time", "bytes do not fit", events=[event(occurred_at=b"\0" + time8(OCCURRED))])
    case("schema version not minimal", "uv is not in its shortest form", events=[event(schema_version=b"\x81\0")])
    case("schema version of 2^64", "uv is 2^64 or more", events=[event(schema_version=b"\x80" * 9 + b"\2")])
    case("payload empty", "payload has no field count", events=[event(payload=b"")])
    case("payload with a trailing byte", "payload: a byte is left over", events=[event(payload=payload() + b"\0")])
    case("payload with kind 2", "kind is neither 0 nor 1", events=[event(payload=payload(("a", 2, "")))])
    case(
        "payload with a name twice",
        "names are not ascending",
        events=[event(payload=payload(("a", 1, ""), ("a", 1, "")))],
    )
    case("payload cut", "value is cut", events=[event(payload=payload(("a", 1, "x"))[:-1])])
    case("second event bad", "kind is neither 0 nor 1", events=[event(), event(payload=payload(("a", 2, "")))])


# block.json


def good_block(name, b):
    records, leaves = [], []
    for sequence, index, block, c in b["parsed"]:
        records.append(
            {
                "link_sequence": str(sequence),
                "link_index": index,
                "link_block": block.hex(),
                "commit": encode_commit(c).hex(),
            }
        )
        leaves += leaves_of(c)
    head = {"name": name, "sequence": str(b["sequence"]), "hex": encode_block(b).hex(), "ok": True}
    names = ("block_id", "previous", "epoch", "system_sequence", "system_block", "tree_size", "tree_root", "time")
    return {**head, **{n: shown(b[n], n) for n in names}, "records": records, "leaves": shown(leaves)}


def pair():
    """A transaction of two aggregates."""
    return transaction("pair", commit(label="pair 0", id="A"), commit(label="pair 1", id="B"))


def block_vectors():
    log = Log()
    out = [good_block("worked-example", log.block(worked_commit(), label="worked-example"))]
    out.append(good_block("one commit with a link", log.block(commit(label="second"))))
    out.append(good_block("transaction of two aggregates", log.block(*pair())))
    twice = [commit(label="twice 0", events=[event(), event()]), commit(label="other", id="B"), commit(label="twice 1")]
    out.append(good_block("same aggregate twice", log.block(*twice)))
    out.append(good_block("same aggregate three times", log.block(*[commit(label=f"three {i}") for i in range(3)])))
    out.append(good_block("empty fence block", log.block(epoch=2)))
    out.append(
        good_block(
            "system block named",
            log.block(commit(label="s"), system_sequence=2**53 + 1, system_block=fixed_id("system")),
        )
    )
    mixed = [
        commit(label="alone"),
        *pair(),
        *transaction("next", commit(label="n0", id="C"), commit(label="n1", id="D")),
    ]
    out.append(good_block("single commit, then two transactions", log.block(*mixed)))
    out.append(good_block("first block, empty", Log().block()))
    for what, other in {"branch": {"branch": 1}, "site": {"site": "other"}}.items():
        b = Log().block(commit(label="l0"), commit(label="l1"))
        first = rooted(commit(label="l1", writer_time=b["time"], **other))
        b["parsed"][1] = (0, 0, ZERO16, first)
        b["records"][1] = encode_record(b["parsed"][1])
        out.append(good_block(f"same type and id on another {what}: another aggregate", b))
    full = [commit(label=f"c{i}", id=f"p{i}", events=[event(payload=payload())]) for i in range(513)]
    out.append(good_block("513 commits, more than a writer puts into one block", Log().block(*full)))
    out.append(good_block("link to the block before, its index not 0", linked_to_index()))
    out.append(good_block("large epoch, sequence and time", Log(2**53).block(*twice, epoch=2**64 - 1, time=2**63 - 1)))
    out.append(good_block("negative time", Log().block(commit(), time=-1)))
    out.append(
        good_block(
            "ids with signs of subjects", Log().block(*[commit(label=i, id=i) for i in ("*", ">", "a.b", "../../etc")])
        )
    )
    return out + bad_blocks()


def linked_to_index():
    log = Log()
    log.block(commit(label="x", id="X"), commit(label="a"))
    return log.block(commit(label="b"))


def bad_blocks():
    out = []

    def case(name, error, b, data=None):
        out.append(bad(name, encode_block(b) if data is None else data, error, sequence=str(b["sequence"])))

    b = Log().block(*pair())
    for name, data, error in truncations(block_segments(b), "block"):
        case(name, error, b, data)
    case("trailing byte", "bytes are left over", b, encode_block(b) + b"\0")
    bad_block_heads(case)
    bad_block_offsets(case)
    bad_block_transactions(case)
    bad_block_links(case)
    return out


def bad_block_heads(case):
    for magic in (b"EVC", b"evb", b"\0\0\0", b'{"a'):
        case(f"magic {ascii(magic.decode())}", "not the magic of a block", Log().block(commit(), magic=magic))
    case("format version 0", "format version 0", Log().block(commit(), format=0))
    case("format version 2", "unknown format version, refused by name", Log().block(commit(), format=2))
    case("format version 255", "unknown format version, refused by name", Log().block(commit(), format=255))
    case("block id zero", "the block id is zero", Log().block(commit(), block_id=ZERO16))
    wrong = "only one of system sequence and system block is zero"
    case("system sequence without a block", wrong, Log().block(commit(), system_sequence=7))
    case("system block without a sequence", wrong, Log().block(commit(), system_block=fixed_id("system")))
    late = [encode_record((0, 0, ZERO16, rooted(commit(writer_time=T0 + 1))))]
    case("commit's time is not the block's", "writer times differ", Log().block(commit(), records=late))
    mixed = Log().block(commit(), commit(label="b", id="B"))
    mixed["records"][1] = encode_record((0, 0, ZERO16, rooted(commit(label="b", id="B", writer_time=T0 - 1))))
    case("second commit's time is not the block's", "writer times differ", mixed)
    spoiled = Log().block(commit(), commit(label="b", id="B"))
    spoiled["records"][1] = encode_record((0, 0, ZERO16, commit(label="b", id="B", layout=2)))
    case("second commit does not decode", "unknown layout version", spoiled)


def bad_block_offsets(case):
    def ends(*values, **more):
        return Log().block(*pair(), ends=list(values), **more)

    whole = Log().block(*pair())
    one, two = len(whole["records"][0]), len(whole["records"][1])
    total = one + two
    case("offsets descend", "offsets are not ascending", ends(total, one))
    case("offsets equal", "offsets are not ascending", ends(total, total))
    case("first offset 0", "offsets are not ascending", ends(0, total))
    case("last offset short of the end", "offsets do not end at the end", ends(one, total - 1))
    case("last offset behind the end", "offsets do not end at the end", ends(one, total + 1))
    case("offset of 2^32-1", "offsets do not end at the end", ends(one, 2**32 - 1))
    case("first offset one too small", "record does not decode", ends(one - 1, total))
    case("first offset one too large", "record does not decode", ends(one + 1, total))
    case("one offset for two records", "bytes are left over in the record", ends(total))
    case("three offsets for two records", "record does not decode", ends(one, one + 1, total))
    case("count one too many", "offset is missing", Log().block(*pair(), count=3))
    case("count one too few", "bytes are left over", Log().block(*pair(), count=1))
    case("count 0 with records", "bytes are left over", Log().block(*pair(), count=0, ends=[]))
    case("count 2^32-1", "offsets are missing", Log().block(*pair(), count=2**32 - 1))
    fence = Log().block()
    case("fence block with a trailing byte", "bytes are left over", fence, encode_block(fence) + b"\0")
    tiny = Log().block(commit(), records=[b"\0" * 28])
    case("record without a commit", "commit is missing", tiny)
    case("record cut in its link", "link is cut", Log().block(commit(), records=[b"\0" * 27]))


def bad_block_transactions(case):
    t = transaction("t", *[commit(label=f"t{i}", id=i) for i in "ABC"])
    u = transaction("u", *[commit(label=f"u{i}", id=i) for i in "DE"])
    alone = commit(label="alone", id="Z")
    wrong = "a transaction is not whole and consecutive"
    case("transaction without its last commit", wrong, Log().block(*t[:2]))
    case("transaction without its first commit", wrong, Log().block(*t[1:]))
    case("transaction without its middle commit", wrong, Log().block(t[0], t[2]))
    case("transaction with another commit between", wrong, Log().block(t[0], alone, *t[1:]))
    case("transaction out of order", wrong, Log().block(t[0], t[2], t[1]))
    case("transaction with an index twice", wrong, Log().block(t[0], t[1], {**t[1], "id": "D"}, t[2]))
    case("two transactions interleaved", wrong, Log().block(t[0], u[0], t[1], u[1], t[2]))
    case("transaction cut short by the next", wrong, Log().block(*t[:2], *u))
    case("transaction behind a single commit, cut", wrong, Log().block(alone, *t[:1]))
    case(
        "transaction with two counts",
        wrong,
        Log().block({**t[0], "transaction_count": 2}, {**t[1], "transaction_count": 3}, t[2]),
    )
    case("transaction with two ids", wrong, Log().block(t[0], {**t[1], "transaction_id": fixed_id("x")}, t[2]))


def bad_block_links(case):
    def relinked(sequence=0, index=0, block=b""):
        log = Log(6)
        b = log.block(commit(label="l0"), commit(label="l1", id="B"), commit(label="l2"))
        old = b["parsed"][2]
        b["records"][2] = encode_record((old[0] + sequence, old[1] + index, block or old[2], old[3]))
        return b

    wrong = "the link does not name the earlier commit of this block"
    case("link inside the block: sequence before", wrong, relinked(sequence=-1))
    case("link inside the block: sequence after", wrong, relinked(sequence=1))
    case("link inside the block: index of another commit", wrong, relinked(index=1))
    case("link inside the block: its own index", wrong, relinked(index=2))
    case("link inside the block: another block id", wrong, relinked(block=fixed_id("x")))
    case("link inside the block: none", wrong, relinked(sequence=-7, block=ZERO16))
    three = Log().block(*[commit(label=f"l{i}") for i in range(3)])
    old = three["parsed"][2]
    three["records"][2] = encode_record((old[0], 0, old[2], old[3]))
    case("link inside the block: the one before the earlier", wrong, three)
    bad_links_outside(case)
    b = Log().block(commit(label="l0"), commit(label="l1"))
    case("read at another sequence than it was made for", wrong, {**b, "sequence": 2}, encode_block(b))


def bad_links_outside(case):
    """The link of a commit whose aggregate stands once in its block."""

    def linked(sequence, index, block, first_version):
        b = Log(6).block(commit(label="l"))
        c = {**b["parsed"][0][3], "first_version": first_version}
        b["records"] = [encode_record((sequence, index, block, c))]
        return b

    x = fixed_id("x")
    parts = {"sequence": (1, 0, ZERO16), "index": (0, 1, ZERO16), "block id": (0, 0, x), "whole link": (1, 0, x)}
    for what, link in parts.items():
        case(f"first version 1 with a link: {what}", "the first commit of an aggregate has a link", linked(*link, 1))
    wrong = "a commit that is not the first has no link"
    for what, link in {"none": (0, 0, ZERO16), "no sequence": (0, 0, x), "no block id": (1, 0, ZERO16)}.items():
        case(f"first version 2 without a link: {what}", wrong, linked(*link, 2))
    wrong = "the link names no earlier sequence"
    case("link to the block's own sequence", wrong, linked(7, 0, x, 2))
    case("link to the block itself", wrong, linked(7, 0, fixed_id("block 1"), 2))
    case("link to a later sequence", wrong, linked(8, 0, x, 2))
    case("link to the largest sequence", wrong, linked(2**64 - 1, 0, x, 2))


# chain.json


class Chain:
    """Messages with what a reader is expected to say of each."""

    def __init__(self):
        self.messages, self.expect, self.at = [], [], 0

    def add(self, what, data):
        self.at += 1
        data = encode_block(data) if isinstance(data, dict) else data
        self.messages.append({"seq": str(self.at), "hex": data.hex()})
        if not (self.expect and self.expect[-1]["what"] == "refused"):
            self.expect.append({"seq": str(self.at), "what": what})
        return self

    def missing(self):
        self.at += 1
        self.expect.append({"seq": str(self.at), "what": "damage"})
        return self

    def vector(self, name):
        return {"name": name, "messages": self.messages, "expect": self.expect}


def one(label, **changes):
    return commit(label=label, **changes)


def start(blocks=1):
    """A chain of some blocks that count, and its log."""
    log, chain = Log(), Chain()
    for i in range(blocks):
        chain.add("block", log.block(one(f"start {i}")))
    return log, chain


def chain_vectors():
    out = [Chain().vector("no message")]
    out += chains_that_count() + chains_with_voids() + chains_with_damage() + chains_refused()
    return out


def chains_that_count():
    out = [start(1)[1].vector("one block"), start(4)[1].vector("four blocks")]
    log, chain = start(2)
    chain.add("block", log.block(epoch=2)).add("block", log.block(one("x"), *pair()))
    out.append(chain.vector("fence block with a higher epoch"))
    log, chain = start(1)
    chain.add("block", log.block(one("x"), time=log.time + 1)).add("block", log.block(time=2**63 - 1))
    out.append(chain.vector("one nanosecond later, then the latest time"))
    log, chain = start(1)
    chain.add("block", log.block(one("x"), one("y"), one("z", id="B"))).add("block", log.block(one("w")))
    out.append(chain.vector("same aggregate twice in a block"))
    chain = Chain().add("block", Log().block(one("x"), epoch=0))
    out.append(chain.vector("first block with epoch 0"))
    log, chain = start(1)
    chain.add("block", log.block(one("x"), tree_root=fixed_hash("wrong"))).add("block", log.block(one("y")))
    out.append(chain.vector("a wrong log root counts, verify refutes it"))
    chain = Chain().add("block", Log().block(time=1 - 2**63))
    out.append(chain.vector("first block one nanosecond behind the earliest time"))
    return out


def chains_with_voids():
    out = []

    def void(name, blocks=1, commits=1, **changes):
        """A void block behind `blocks` that count, then the block that should have come."""
        log, chain = start(blocks)
        stray = log.fork()
        names = {k: v(log) if callable(v) else v for k, v in changes.items()}
        chain.add("void", stray.block(*[one(f"stray {i}") for i in range(commits)], label="stray", **names))
        chain.add("block", log.block(one("after"), label="after"))
        out.append(chain.vector(name))

    void("first block names a predecessor", 0, previous=fixed_id("x"))
    void("first block with a size above its events", 0, tree_size=2)
    void("first block with size 0 and an event", 0, tree_size=0)
    void("first block with the earliest time", 0, 0, time=-(2**63))
    void("predecessor unknown", previous=fixed_id("x"))
    void("predecessor zero", previous=ZERO16)
    void("predecessor is the one before the last", 2, previous=fixed_id("block 1"))
    void("predecessor is itself", previous=fixed_id("stray"))
    void("epoch lower", epoch=0)
    void("time equal", time=lambda log: log.time)
    void("time lower", time=lambda log: log.time - 1)
    void("size one too large", tree_size=lambda log: len(log.leaves) + 2)
    void("size one too small", tree_size=lambda log: len(log.leaves))
    void("size too large, fence block", 1, 0, tree_size=lambda log: len(log.leaves) + 1)
    void("largest size", tree_size=2**64 - 1)
    return out + forks()


def forks():
    out = []
    log, chain = start(1)
    again = chain.messages[-1]["hex"]
    chain.add("void", bytes.fromhex(again)).add("block", log.block(one("x")))
    out.append(chain.vector("the same block twice"))
    log, chain = start(1)
    stray = log.fork()
    chain.add("block", log.block(one("x"), label="x")).add("void", stray.block(one("y"), label="y"))
    chain.add("void", stray.block(one("z"), label="z")).add("block", log.block(one("w"), label="w"))
    out.append(chain.vector("two blocks name one predecessor: the first counts, what continues the second is void"))
    log, chain = start(1)
    old = log.fork()
    chain.add("block", log.block(label="fence", epoch=2)).add("void", old.block(one("late"), label="late"))
    chain.add("block", log.block(one("x"), label="x"))
    out.append(chain.vector("a writer behind the fence"))
    log, chain = start(1)
    stray = log.fork()
    chain.add("void", stray.block(one("s"), label="s", epoch=9, previous=ZERO16, time=2**63 - 1))
    chain.add("block", log.block(one("x"), label="x"))
    out.append(chain.vector("epoch and time of a void block are not kept"))
    return out


def chains_with_damage():
    out = []

    def damage(name, data):
        log, chain = start(1)
        chain.add("damage", data).add("block", log.block(one("x"))).add("block", log.block(one("y")))
        out.append(chain.vector(name))

    split = transaction("t", commit(label="t0"), commit(label="t1", id="B"))[:1]
    good = encode_block(Log().block(one("g")))
    log, chain = start(1)
    chain.add("damage", log.fork().block(one("z"), block_id=ZERO16, label="zero")).add("block", log.block(one("x")))
    out.append(chain.vector("block id zero"))
    log, chain = start(1)
    stray = log.fork()
    stray.heads[("patient", "A")] = (stray.heads[("patient", "A")][0], (9, 0, fixed_id("x")))
    chain.add("damage", stray.block(one("s"), label="s")).add("block", log.block(one("x")))
    out.append(chain.vector("a link to a later sequence"))
    damage("empty message", b"")
    damage("three bytes of magic", b"EVB")
    damage("random bytes", fixed_hash("random"))
    damage("version 0", b"EVB\0" + good[4:])
    damage("bad magic", b"EVC" + good[3:])
    damage("cut block", good[:-1])
    damage("block with a trailing byte", good + b"\0")
    damage("split transaction", encode_block(Log().block(*split)))
    late = [encode_record((0, 0, ZERO16, rooted(commit(writer_time=T0 + 1))))]
    damage("commit's time is not the block's", encode_block(Log().block(commit(), records=late)))
    return out + resumptions()


def resumptions():
    out = []
    other = Log()
    other.block(one("o0"), label="o0", time=5)
    taken = other.fork().block(one("o1"), label="o1", epoch=0, time=7)
    log, chain = start(3)
    chain.add("damage", b"?").add("block", taken)
    chain.add("void", log.block(one("x"), label="x"))
    out.append(chain.vector("behind damage id, size, epoch and time are taken as they stand"))
    log, chain = start(1)
    chain.add("damage", b"?").add("block", log.block(one("x"), tree_size=2**64 - 1))
    chain.add("void", log.fork().block(one("y"), tree_size=0)).add("block", log.block(tree_size=2**64 - 1))
    out.append(chain.vector("a size does not go round 2^64"))
    log, chain = start(1)
    chain.add("damage", b"?").add("damage", b"??").add("block", log.block(one("x")))
    out.append(chain.vector("two damaged messages"))
    log = Log()
    log.block(one("lost"))
    chain = Chain().add("damage", b"?").add("block", log.block(one("x"))).add("block", log.block(one("y")))
    out.append(chain.vector("first message damaged"))
    log, chain = start(2)
    log.block(one("lost"))
    chain.missing().add("block", log.block(one("x"))).add("block", log.block(one("y")))
    out.append(chain.vector("a sequence is missing"))
    log, chain = start(1)
    log.block(one("lost"))
    chain.missing().missing().add("block", log.block(one("x")))
    out.append(chain.vector("two sequences are missing"))
    log = Log()
    log.block(one("lost"))
    chain = Chain().missing().add("block", log.block(one("x"))).add("block", log.block(one("y")))
    out.append(chain.vector("the first sequence is missing"))
    chain = Chain().missing().missing().add("damage", b"?").add("block", Log(3).block(one("x")))
    out.append(chain.vector("two sequences are missing at the start, then damage"))
    log, chain = start(1)
    chain.missing().add("damage", b"?").missing().add("block", log.block(one("x")))
    out.append(chain.vector("missing, damaged, missing"))
    log, chain = start(1)
    chain.add("damage", b"?").add("block", log.block(one("x"))).add("void", log.fork().block(one("y"), previous=ZERO16))
    chain.add("block", log.block(one("z"))).add("damage", b"")
    out.append(chain.vector("damage, a block, then the usual rules again"))
    log, chain = start(1)
    chain.add("void", log.fork().block(one("s"), label="s", epoch=0)).add("damage", b"?").add(
        "block", log.block(one("x"))
    )
    out.append(chain.vector("void, then damage"))
    return out


def chains_refused():
    out = []
    for name, data in (("version 2", b"EVB\2"), ("version 255 and more bytes", b"EVB\xff" + bytes(200))):
        log, chain = start(2)
        chain.add("refused", data).add("", log.block(one("x")))
        out.append(chain.vector(f"{name}: the reader stops"))
    log, chain = start(1)
    good = encode_block(log.block(one("x")))
    out.append(chain.add("refused", b"EVB\2" + good[4:]).vector("a block with its version changed to 2"))
    out.append(Chain().add("refused", b"EVB\2").vector("first message has version 2"))
    log, chain = start(1)
    out.append(chain.add("damage", b"?").add("refused", b"EVB\3x").vector("version 3 behind damage"))
    log, chain = start(1)
    out.append(chain.missing().add("refused", b"EVB\2").vector("version 2 behind a missing sequence"))
    return out


# position.json


def position_vectors():
    block = fixed_id("position")
    out = []
    for log, sequence, index, id_ in (
        ("patient", 812, 0, block),
        ("eventful", 1, 0, block),
        ("a", 2**53 + 1, 511, block),
        ("a_-0", 2**64 - 1, 2**32 - 1, b"\xff" * 16),
        ("l" * 40, 10, 10, block),
    ):
        text = f"{log}/{sequence}/{index}/{id_.hex()}"
        out.append(
            {"text": text, "ok": True, "log": log, "sequence": str(sequence), "index": index, "block": id_.hex()}
        )
    h = block.hex()
    wrong = {
        "not four parts": [
            "",
            "/",
            "patient",
            "patient/812/0",
            f"patient/812/0/{h}/",
            f"/patient/812/0/{h}",
            f"patient//812/0/{h}",
        ],
        "log": [f"/812/0/{h}", f"Patient/812/0/{h}", f"0/812/0/{h}", f"pa tient/812/0/{h}", "l" * 41 + f"/812/0/{h}"],
        "sequence": [
            f"patient/{s}/0/{h}"
            for s in ("", "-1", "+1", "1.0", "1e3", "0x1", " 1", "1 ", "012", "00", "1_0", "a", "\u0661")
        ],
        "sequence out of range": [f"patient/{s}/0/{h}" for s in (0, 2**64, 10**30)],
        "index": [f"patient/812/{s}/{h}" for s in ("", "-1", "+1", "0.0", "00", "01", " 0", "x")],
        "index out of range": [f"patient/812/{2**32}/{h}", f"patient/812/{2**64}/{h}"],
        "block id": [
            f"patient/812/0/{s}" for s in ("", h[:-1], h[:-2], h + "0", h + "00", h.upper(), "g" + h[1:], h[:-1] + " ")
        ],
        "more behind it": [f"patient/812/0/{h}\n", f"patient/812/0/{h} ", f"patient/812/0/{h}?"],
    }
    for error, texts in wrong.items():
        out += [{"text": text, "ok": False, "error": error} for text in texts]
    return out


# export.json


def export_of(log, type_="patient", id_="A", name="patient"):
    commits, leaves = [], []
    for key, (sequence, index, block), c, new in log.exported:
        if key != (type_, id_):
            continue
        leaves += new
        position = f"{name}/{sequence}/{index}/{block.hex()}"
        commits.append({"position": position, "commit": b64(encode_commit(c)), "leaves": shown(new)})
    head = {"format": "eventful.export.v1", "site": "main", "log": name, "type": type_, "id": id_}
    return {**head, "version": len(leaves), "root": mth(leaves).hex(), "commits": commits}


def b64(data):
    return base64.b64encode(data).decode()


def example_log():
    log = Log()
    log.block(worked_commit(), label="worked-example")
    log.block(one("e1", events=[event(payload=payload(("crp", 0, "")))]), one("other", id="B"))
    log.block()
    log.block(*pair())
    log.block(one("e2", events=[event(occurred_at=-1), event(payload=payload())]), one("e3"))
    return log


def export_vectors():
    out = []

    def good(name, document):
        out.append({"name": name, "document": document, "ok": True, "exit": 0})

    def refuse(name, exit_status, error, document):
        out.append({"name": name, "document": document, "ok": False, "exit": exit_status, "error": error})

    log = Log()
    log.block(worked_commit(), label="worked-example")
    good("worked-example", export_of(log))
    good("five commits, one in a transaction, two in one block", export_of(example_log()))
    good("second aggregate", export_of(example_log(), id_="B"))
    good("another log name", export_of(example_log(), name="ward-3"))
    good("members that the format does not name", {"note": ["?"], **export_of(example_log()), "zone": {"a": 1}})
    document = export_of(example_log())
    document["commits"][1]["note"] = None
    good("a member that the format does not name, in a commit", document)
    for what, id_ in UNICODE_IDS.items():
        log = Log()
        log.block(one(f"id {what}", id=id_))
        good(f"id: {what}", export_of(log, id_=id_))
    log = Log()
    for i in range(13):
        log.block(one(f"thirteen {i}"))
    good("thirteen commits", export_of(log))
    refuted_exports(refuse)
    forged_exports(good, refuse)
    unreadable_exports(refuse)
    return out


def refuted_exports(refuse):
    def case(name, error, change):
        document = export_of(example_log())
        change(document)
        refuse(name, 7, error, document)

    refuted_heads(case)
    refuted_leaves(case)
    refuted_commits(case)
    refuted_positions(case)


def assign(*path):
    """assign("commits", 0, "leaves", value) makes a change that sets it."""
    *way, last, value = path

    def change(document):
        for step in way:
            document = document[step]
        document[last] = value(document[last]) if callable(value) else value

    return change


def flip(text):
    return ("1" if text[0] == "0" else "0") + text[1:]


def refuted_heads(case):
    for name in ("site", "type", "id", "log"):
        case(f"{name} is another", f"{name} differs", assign(name, "other"))
    case("id differs in case", "id differs", assign("id", "a"))
    case("version one too high", "version differs", assign("version", lambda v: v + 1))
    case("version one too low", "version differs", assign("version", lambda v: v - 1))
    case("version 0", "version differs", assign("version", 0))
    case("version negative", "version differs", assign("version", -8))
    case("version beyond 2^63", "version differs", assign("version", 2**63))
    case("root is another", "root differs", assign("root", flip))


def refuted_leaves(case):
    case("first leaf is another", "version 1: leaf hash differs", assign("commits", 0, "leaves", 0, flip))
    case("last leaf is another", "version 8: leaf hash differs", assign("commits", 4, "leaves", 0, flip))
    case("leaves swapped", "version 1: leaf hash differs", assign("commits", 0, "leaves", lambda v: [v[1], v[0], v[2]]))
    case("leaf missing", "version 3: leaf hash is missing", assign("commits", 0, "leaves", lambda v: v[:-1]))
    case("no leaves", "version 1: leaf hash is missing", assign("commits", 0, "leaves", []))
    case(
        "leaf too many", "version 3: more leaf hashes than events", assign("commits", 0, "leaves", lambda v: v + v[:1])
    )


def refuted_commits(case):
    case("first commit missing", "version 1 is missing", lambda d: d["commits"].pop(0))
    case("commit missing in the middle", "version 4 is missing", lambda d: d["commits"].pop(1))
    case("last commit missing", "version differs", lambda d: d["commits"].pop())
    case("commits swapped", "version 4 is missing", lambda d: d["commits"].insert(1, d["commits"].pop(2)))
    case("commit twice", "version 5 is missing", lambda d: d["commits"].insert(1, d["commits"][1]))

    def recode(change):
        def apply(text):
            return b64(change(base64.b64decode(text)))

        return assign("commits", 1, "commit", apply)

    def replaced(**changes):
        c = [c for key, _, c, _ in example_log().exported if key == ("patient", "A")][1]
        return recode(lambda _: encode_commit({**c, **changes}))

    other = [event(payload=payload(("crp", 1, "0")))]
    case("commit with a trailing byte", "version 4: commit does not decode", recode(lambda data: data + b"\0"))
    case("commit cut", "version 4: commit does not decode", recode(lambda data: data[:-1]))
    case("commit empty", "version 4: commit does not decode", recode(lambda data: b""))
    case("commit of layout version 2", "version 4: commit does not decode", replaced(layout=2))
    case("payload changed", "version 4: leaf hash differs", replaced(events=other))
    unset = event(payload=payload(("crp", 0, "")))
    case("salt changed", "version 4: leaf hash differs", replaced(events=[{**unset, "salt": fixed_id("x")}]))
    case("occurred-at added", "version 4: leaf hash differs", replaced(events=[{**unset, "occurred_at": 0}]))
    case("actor changed", "version 4: leaf hash differs", replaced(actor="user:eve"))
    case("writer time changed", "version 4: leaf hash differs", replaced(writer_time=T0))
    case("root in the commit changed", "version 4: root differs", replaced(root=fixed_hash("x")))
    case("aggregate in the commit changed", "version 4: id differs", replaced(id="B"))
    case("type in the commit changed", "version 4: type differs", replaced(type="ward"))
    case("site in the commit changed", "version 4: site differs", replaced(site="other"))
    case("first version in the commit changed", "version 4 is missing", replaced(first_version=5))


def forged(*commits, positions=((1, 0), (2, 0))):
    """An export whose hashes all fit each other, and whose commits do not."""
    made, leaves = [], []
    for c, (sequence, index) in zip(commits, positions):
        c = rooted(c, leaves)
        new = leaves_of(c)
        leaves += new
        position = f"patient/{sequence}/{index}/{fixed_id(f'forged {sequence}').hex()}"
        made.append({"position": position, "commit": b64(encode_commit(c)), "leaves": shown(new)})
    head = {"format": "eventful.export.v1", "site": "main", "log": "patient", "type": "patient", "id": "A"}
    return {**head, "version": len(leaves), "root": mth(leaves).hex(), "commits": made}


def forged_exports(good, refuse):
    good("forged, the control", forged(one("f0"), one("f1", first_version=2)))
    refuse("forged: begins with version 2", 7, "version 1 is missing", forged(one("f0", first_version=2)))
    skipping = forged(one("f0"), one("f1", first_version=3))
    refuse("forged: skips a version", 7, "version 2 is missing", skipping)
    repeating = forged(one("f0"), one("f1"))
    refuse("forged: repeats a version", 7, "version 2 is missing", repeating)
    two = (one("f0"), one("f1", first_version=2, writer_time=T0 + 1))
    two_times = forged(*two, positions=((1, 0), (1, 1)))
    refuse("forged: two writer times in one block", 7, "version 2: writer times differ", two_times)
    refuse(
        "forged: of another aggregate",
        7,
        "version 2: id differs",
        forged(one("f0"), one("f1", first_version=2, id="B")),
    )


def refuted_positions(case):
    h = fixed_id("x").hex()
    case("position in another log", "version 4: log differs", assign("commits", 1, "position", f"ward/2/0/{h}"))
    case(
        "position before the one before",
        "version 5: positions descend",
        assign("commits", 2, "position", f"patient/1/0/{h}"),
    )
    swap = assign("commits", 3, "position", lambda p: p.replace("/5/0/", "/5/2/"))
    case("index before the one before", "version 8: positions descend", swap)
    case(
        "two block ids at one sequence",
        "version 8: block ids differ",
        assign("commits", 4, "position", f"patient/5/1/{h}"),
    )


def unreadable_exports(refuse):
    def case(name, error, change):
        document = export_of(example_log())
        change(document)
        refuse(name, 2, error, document)

    for name in ("format", "site", "log", "type", "id", "version", "root", "commits"):
        case(f"{name} missing", f"{name} is missing", lambda d: d.pop(name))
        case(f"{name} null", f"{name} is of the wrong type", assign(name, None))
        case(f"{name} an object", f"{name} is of the wrong type", assign(name, {}))
    for name in ("position", "commit", "leaves"):
        case(f"{name} missing in a commit", f"{name} is missing", lambda d: d["commits"][1].pop(name))
        case(f"{name} a number in a commit", f"{name} is of the wrong type", assign("commits", 1, name, 7))
    case("format of version 2", "unknown format", assign("format", "eventful.export.v2"))
    case("version a string", "version is of the wrong type", assign("version", "8"))
    case("version true", "version is of the wrong type", assign("version", True))
    case("version with a fraction", "version is of the wrong type", assign("version", 8.5))
    case("commits empty", "no commit", assign("commits", []))
    case("root in upper case", "not a hash", assign("root", lambda v: v.upper()))
    case("leaf in upper case", "not a hash", assign("commits", 1, "leaves", 0, lambda v: v.upper()))
    case("root too short", "not a hash", assign("root", lambda v: v[:-1]))
    case("root empty", "not a hash", assign("root", ""))
    case("root not hexadecimal", "not a hash", assign("root", lambda v: "g" + v[1:]))
    case("leaf too long", "not a hash", assign("commits", 1, "leaves", 0, lambda v: v + "00"))
    case("leaf a number", "not a hash", assign("commits", 1, "leaves", 0, 7))
    case("commits holds a string", "not an object", assign("commits", 1, "x"))
    case("base64 without padding", "not base64", assign("commits", 1, "commit", unpadded))
    case("base64 with a line break", "not base64", assign("commits", 1, "commit", lambda v: v[:64] + "\n" + v[64:]))
    case("base64 of the URL alphabet", "not base64", assign("commits", 1, "commit", lambda v: "-_" + v[2:]))
    for position in (
        "",
        "patient",
        f"patient/2/0/{fixed_id('x').hex().upper()}",
        "patient/2/0/00",
        "patient/two/0/" + "0" * 31 + "1",
        "patient/0/0/" + "0" * 31 + "1",
    ):
        case(f"position {position!r}", "not a position", assign("commits", 1, "position", position))


def unpadded(text):
    """The base64 of the commit, with its padding removed or, if it has none, a byte short of a group."""
    return text.rstrip("=") if text.endswith("=") else text[:-1]


# digest.json


def digest_event(name, occurred_at, *fields):
    return {"event": name, "occurred_at": occurred_at, "payload": payload(*fields), "fields": shown_fields(fields)}


def digest_vector(name, commits, actor="user:ada"):
    parts = [b"eventful.command.v1\0", lp(actor), uv(len(commits))]
    for c in commits:
        parts += [lp(c["type"]), lp(c["id"]), lp(c["expected_version"]), uv(len(c["events"]))]
        for e in c["events"]:
            parts += [lp(e["event"]), flagged_time(e["occurred_at"]), lp(e["payload"])]
    return {"name": name, "actor": actor, "commits": shown(commits), "digest": sha(*parts).hex()}


def digest_commit(expected, *events, type_="patient", id_="A"):
    return {"type": type_, "id": id_, "expected_version": expected, "events": list(events)}


def digest_vectors():
    crp = digest_event("crp", None, *WORKED_FIELDS)
    out = [digest_vector("one event", [digest_commit("any", crp)])]
    for expected in ("none", "exists", "0", "3", str(2**53 + 1), str(2**63 - 2)):
        out.append(digest_vector(f"expected version {expected}", [digest_commit(expected, crp)]))
    out.append(digest_vector("another actor", [digest_commit("any", crp)], "token:T\u00f6pfer"))
    out.append(digest_vector("no fields", [digest_commit("any", digest_event("discharged", None))]))
    out.append(digest_vector("unset field", [digest_commit("any", digest_event("crp", None, ("crp", 0, "")))]))
    out.append(digest_vector("empty field", [digest_commit("any", digest_event("crp", None, ("crp", 1, "")))]))
    for what, time in (("given", OCCURRED), ("zero", 0), ("negative", -1)):
        out.append(
            digest_vector(f"occurred-at {what}", [digest_commit("any", digest_event("crp", time, *WORKED_FIELDS))])
        )
    out.append(digest_vector("two events", [digest_commit("any", crp, digest_event("discharged", OCCURRED))]))
    two = [digest_commit("3", crp), digest_commit("none", crp, type_="ward", id_="../../etc")]
    out.append(digest_vector("two aggregates", two))
    out.append(digest_vector("two aggregates in the other order", two[::-1]))
    out.append(digest_vector("130 events", [digest_commit("any", *[crp] * 130)]))
    out.append(digest_vector("unicode id", [digest_commit("any", crp, id_="\U0001f9ea")]))
    return out


# subjects.json


def escaped(value):
    plain = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    return "".join(chr(b) if b in plain else f"={b:02X}" for b in raw(value))


def written(data):
    """The member that holds an input: hex where it is no UTF-8, and so cannot stand in JSON."""
    try:
        return {"text": raw(data).decode("utf-8")}
    except UnicodeDecodeError:
        return {"hex": data.hex()}


def subject_vectors():
    out = []

    def good(kind, name, data, **parts):
        out.append({"name": f"{kind}: {name}", "kind": kind, **written(data), "ok": True, **parts})

    def refuse(kind, name, data, error):
        out.append({"name": f"{kind}: {name}", "kind": kind, **written(data), "ok": False, "error": error})

    escape_vectors(good, refuse)
    command_subjects(good, refuse)
    query_subjects(good, refuse)
    aggregate_texts(good, refuse)
    return out


def escape_vectors(good, refuse):
    good("escape", "every plain byte", escaped("AZaz09_-"), id="AZaz09_-")
    good("escape", "the example of subjects.md", "=2E=2E=2Fx", id="../x")
    good("escape", "128 bytes, all escaped", "=2E" * 128, id="." * 128)
    for what, id_ in UNICODE_IDS.items():
        good("escape", what, escaped(id_), id=id_)
    for what, id_ in {
        "an equals sign": "=",
        "an escape that is itself escaped": "=41",
        "NUL": "a\0b",
        "line break": "\r\n",
        "DEL": "\x7f",
        "colon, slash, at, bracket, backquote, brace": "/:@[`{",
    }.items():
        good("escape", what, escaped(id_), id=id_)
    for what, data in NOT_UTF8.items():
        good("escape", f"not UTF-8: {what}", escaped(data), id_hex=data.hex())
    for byte in b"Aaz09Z_-":
        refuse("escape", f"={byte:02X}", f"={byte:02X}", "the byte needs no escape")
    for text in ("=2e", "=2F=c3=A9", "=fF", "=Ff"):
        refuse("escape", f"lower case in {text}", text, "lower-case hexadecimal")
    for text in ("=", "=2", "a=", "a=2", "=2E=", "=2E=2", "==2E", "=2=2E"):
        refuse("escape", f"cut in {text}", text, "the escape is cut")
    for text in ("=GG", "=0x", "=+2", "= 2", "=2 ", "=-1", "%2E", "\uff1d2E", "=\uff12E"):
        refuse("escape", f"no escape in {ascii(text)}", text, "no escape that is ever written")
    for text in (".", "*", ">", " ", "a b", "/", "~", "\0", "a\n", "\x7f", "\u00e9", "\U0001f9ea", b"\xff", b"A\xc3"):
        refuse("escape", f"bare {ascii(text)}", text, "a byte that has to be escaped")


AWKWARD_TYPES = {
    "empty": "",
    "star": "*",
    "greater than": ">",
    "upper case": "Patient",
    "a digit in front": "1a",
    "underscore": "_",
    "underscore in front": "_a",
    "hyphen in front": "-a",
    "blank": "a b",
    "blank behind": "patient ",
    "line break behind": "patient\n",
    "NUL": "a\0",
    "dollar sign": "$JS",
    "not ASCII": "\u00e4",
    "an escape": "=70atient",
    "slash": "a/b",
    "41 bytes": "a" * 41,
    "not UTF-8": b"a\xff",
}
BAD_IDS = {
    "129 bytes": "x" * 129,
    "129 bytes in 43 characters": "\u20ac" * 43,
    "not in form C": "e\u0301",
    "not in form C, Hangul": "\u1112\u1161",
    "not in form C, Angstrom": "\u212b",
    "NUL": "\0",
    "NUL behind": "A\0",
    "line break": "a\r\nb",
    "tab": "\t",
    "DEL": "\x7f",
    "C1 control": "a\u0085",
    **NOT_UTF8,
}


def command_subjects(good, refuse):
    def form(type_="patient", id_="A", event_="crp"):
        return b".".join([b"cmd", raw(type_), raw(id_), raw(event_)])

    for what, id_ in {"plain": "A", "no number is special": "0", "equals sign": "=", **UNICODE_IDS}.items():
        good("command", f"id: {what}", form(id_=escaped(id_)), type="patient", id=id_, event="crp")
    good("command", "type of 40 bytes", form(type_="a" * 40), type="a" * 40, id="A", event="crp")
    good("command", "event type of 64 bytes", form(event_="e" * 64), type="patient", id="A", event="e" * 64)
    good("command", "hyphen and underscore", form("a-_", "-_", "e-_1"), type="a-_", id="-_", event="e-_1")
    good("command", "one byte each", "cmd.a.b.c", type="a", id="b", event="c")
    for what, type_ in AWKWARD_TYPES.items():
        refuse("command", f"type: {what}", form(type_=type_), "no aggregate type")
        event_ = b"e" * 65 if what == "41 bytes" else type_
        refuse("command", f"event type: {what.replace('41', '65')}", form(event_=event_), "no event type")
        if what != "41 bytes":
            refuse("transaction", f"type: {what}", b"cmd." + raw(type_), "no aggregate type")
    refuse("transaction", "type: 41 bytes", "cmd." + "a" * 41, "no aggregate type")
    for what, id_ in BAD_IDS.items():
        refuse("command", f"id: {what}", form(id_=escaped(id_)), "no aggregate id")
    for text in ("", "*", ">", "=41", "=2e", "=2", "a b", "\u00e9", "a\0"):
        refuse("command", f"escaped id {ascii(text)}", form(id_=text), "no escaped aggregate id")
    for text in (
        *("", ".", "...", "cmd", "cmd.", "cmd.patient.A", "cmd.patient.A.", "cmd.patient.A.crp."),
        *("cmd.patient.A.crp.x", ".cmd.patient.A.crp", "cmd..A.crp", "cmd...crp", "cmd.patient.a.b.crp"),
        *("CMD.patient.A.crp", "Cmd.patient.A.crp", "qry.patient.A.crp", "evt.patient.A.crp", " cmd.patient.A.crp"),
        *("cmd.patient.A.crp\n", "cmd.patient.A.crp ", "cmd/patient/A/crp", "*.patient.A.crp", "cmd.>"),
    ):
        refuse("command", f"form {ascii(text)}", text, "not cmd.<type>.<id>.<event>")
    for type_ in ("patient", "a", "a-_1", "a" * 40):
        good("transaction", f"type {type_}", "cmd." + type_, type=type_)
    for text in ("", "cmd", "cmd.patient.", "cmd.patient.A", "cmd..patient", "CMD.patient", "qry.patient", "patient"):
        refuse("transaction", f"form {ascii(text)}", text, "not cmd.<type>")


def query_subjects(good, refuse):
    for verb in ("get", "history", "verify", "export"):
        good("query", f"{verb} of an aggregate", f"qry.patient.A.{verb}", type="patient", id="A", verb=verb)
    for verb in ("list", "verify"):
        good("query", f"{verb} of a type", f"qry.patient.{verb}", type="patient", id="", verb=verb)
    for verb in ("list", "verify", "event", "resolve"):
        good("query", f"{verb} of everything", f"qry._.{verb}", type="", id="", verb=verb)
    for what, id_ in UNICODE_IDS.items():
        good("query", f"id: {what}", f"qry.patient.{escaped(id_)}.get", type="patient", id=id_, verb="get")
    good("query", "an id like a verb", "qry.patient.list.get", type="patient", id="list", verb="get")
    good("query", "an id like no type", "qry.patient._.get", type="patient", id="_", verb="get")
    good("query", "a type like a verb", "qry.list.list", type="list", id="", verb="list")
    for what, type_ in AWKWARD_TYPES.items():
        refuse("query", f"type: {what}", b"qry." + raw(type_) + b".A.get", "no aggregate type")
        if type_ != "_":
            refuse("query", f"type alone: {what}", b"qry." + raw(type_) + b".list", "no aggregate type")
    for what, id_ in BAD_IDS.items():
        refuse("query", f"id: {what}", f"qry.patient.{escaped(id_)}.get", "no aggregate id")
    for text in ("", "*", ">", "=41", "=2e", "=2", "a b", "\u00e9"):
        refuse("query", f"escaped id {ascii(text)}", f"qry.patient.{text}.get", "no escaped aggregate id")
    for text in (
        *("", "qry", "qry.", "qry.patient", "qry._", "qry.patient.A.get.x", "qry.patient.A.get.", ".qry.patient.list"),
        *("QRY.patient.list", "cmd.patient.list", "cmd.patient.A.get", "qry._.A.get", "qry.__.list"),
    ):
        refuse("query", f"form {ascii(text)}", text, "no query subject")


def aggregate_texts(good, refuse):
    for what, id_ in {"plain": "A", "slash": "a/b", "slash alone": "/", "slashes": "//a//", **UNICODE_IDS}.items():
        good("aggregate", f"id: {what}", f"patient/{id_}", type="patient", id=id_)
    good("aggregate", "id is not escaped", "patient/=2E", type="patient", id="=2E")
    for what, type_ in AWKWARD_TYPES.items():
        if what != "slash":
            refuse("aggregate", f"type: {what}", raw(type_) + b"/A", "no aggregate type")
    for what, id_ in BAD_IDS.items():
        refuse("aggregate", f"id: {what}", b"patient/" + raw(id_), "no aggregate id")
    for text in ("", "/", "patient", "patient/", "/A", "patient.A", " patient/A", "patient\\A", "\ufeffpatient/A"):
        refuse("aggregate", f"form {ascii(text)}", text, "not type/id")


# command.json


GOOD_NUMBERS = (
    *("0", "-0", "1", "-1", "1.10", "21.0", "0.0", "-0.00", "1e400", "1E+2", "1e-0", "-1.5E-007", "0e0", "1e00"),
    *("9007199254740993", "18446744073709551616", "0.1000000000000000055511151231257827", "1e-99999", "7" * 400),
)
BAD_NUMBERS = (
    *("01", "-01", "00", "+1", "-", "--1", ".5", "-.5", "5.", "1.e1", "1e", "1e+", "1E-", "1e1.5", "0x1", "1_000"),
    *("1,5",),
    *("NaN", "-NaN", "Infinity", "-Infinity", "1f", "0b1", "\u0661", "1\u0662", "1 2"),
)


def command_vectors():
    out = []

    def good(name, body, *fields):
        shown_body = written(body)
        out.append({"name": name, "kind": "fields", **shown_body, "ok": True, "fields": shown_fields(fields)})

    def refuse(name, body, error):
        out.append({"name": name, "kind": "fields", **written(body), "ok": False, "error": error})

    good_bodies(good)
    bad_bodies(refuse)
    for text in ("any", "none", "exists", "0", "3", "10", str(2**53 + 1), str(2**63 - 2)):
        out.append({"name": f"expected {text}", "kind": "expected", "text": text, "ok": True, "expected": text})
    for text in (
        *(str(2**63 - 1), str(2**63), str(2**64 - 1), str(2**64), str(2**64 + 1), "9" * 400, "-1", "-0", "+1", "01"),
        *("00", "abc", "", " ", " 1", "1 ", "1\n", "1\0", "1.0", "1e1", "0x1", "1_0", "1,0", "Any", "NONE", "Exists"),
        *("any ", " any", "exist", "null", "true", '"3"', "\u0663", "\uff13", b"\xff", b"3\x80"),
    ):
        out.append(
            {"name": f"expected {ascii(text)}", "kind": "expected", **written(text), "ok": False, "error": "section 4"}
        )
    return out


def good_bodies(good):
    good("empty body", "")
    good("no fields", "{}")
    good("blanks everywhere", ' \t\r\n{ "a" : 1 ,\n"b"\t:\r"x" } \n', ("a", 1, "1"), ("b", 1, "x"))
    good("worked example", '{"crp": 21.0, "unit": "mg/l"}', *WORKED_FIELDS)
    good("in the order of the body", '{"b":1,"a":2,"A":3}', ("b", 1, "1"), ("a", 1, "2"), ("A", 1, "3"))
    for number in GOOD_NUMBERS:
        good(f"number {number[:40]}", f'{{"a":{number}}}', ("a", 1, number))
    good("number as a string", '{"a":"01"}', ("a", 1, "01"))
    good("true and false", '{"a":true,"b":false}', ("a", 1, "true"), ("b", 1, "false"))
    good("null", '{"a":null}', ("a", 0, ""))
    good("empty string", '{"a":""}', ("a", 1, ""))
    good("null as a string", '{"a":"null"}', ("a", 1, "null"))
    good("every short escape", r'{"a":"\"\\\/\b\f\n\r\t"}', ("a", 1, '"\\/\b\f\n\r\t'))
    good("escape of NUL", r'{"a":"x\u0000y"}', ("a", 1, "x\0y"))
    good("escapes in both cases", r'{"a":"\u00e9\u00E9"}', ("a", 1, "\u00e9\u00e9"))
    good("surrogate pair", r'{"a":"\ud83e\uddea"}', ("a", 1, "\U0001f9ea"))
    good("last surrogate pair", r'{"a":"\uDBFF\uDFFF"}', ("a", 1, "\U0010ffff"))
    good("next to the surrogates", r'{"a":"\ud7ff\ue000"}', ("a", 1, "\ud7ff\ue000"))
    good("escaped backslash before u", r'{"a":"\\ud800"}', ("a", 1, r"\ud800"))
    good(
        "characters as they are", '{"a":"\u00e9\U0001f9ea\x7f\u0085\u2028\ufeff\uffff"}',
        ("a", 1, "\u00e9\U0001f9ea\x7f\u0085\u2028\ufeff\uffff")
    )
    good("value not in form C", '{"a":"e\u0301"}', ("a", 1, "e\u0301"))
    good("replacement character", '{"a":"\ufffd\\ufffd"}', ("a", 1, "\ufffd\ufffd"))
    good("escaped name", r'{"\u0061":1}', ("a", 1, "1"))
    good("name of 64 bytes", '{"' + "n" * 64 + '":1}', ("n" * 64, 1, "1"))
    many = [(f"f{i}", 1, "1") for i in range(1024)]
    good("1024 fields", "{" + ",".join(f'"f{i}":1' for i in range(1024)) + "}", *many)


def bad_bodies(refuse):
    for body in (" ", "\n", "null", "true", "1", '"a"', "[]", '[{"a":1}]', "[", "NaN", "a", "\0", "{}{}", "{},", "{}x"):
        refuse(f"body {ascii(body)}", body, "not one object")
    for body in (
        *('{}\0', '{"a":1}}', '{"a":1}\n1', '{"a":1} // x', '/**/{"a":1}', '{}\u00a0', "\ufeff{}", "{}\ufeff"),
        *("\v{}",),
    ):
        refuse(f"body {ascii(body)}", body, "something stands beside the object")
    whole = '{"a":"x","b":1}'
    for end in range(1, len(whole)):
        refuse(f"cut behind byte {end}", whole[:end], "cut")
    for number in BAD_NUMBERS:
        refuse(f"number {ascii(number)}", f'{{"a":{number}}}', "not a number of RFC 8259")
    for value in ("{}", "[]", '{"b":1}', "[1]", "[null]", "[" * 50 + "]" * 50):
        refuse(f"value {value[:40]}", f'{{"a":{value}}}', "an object or array")
    for value in ("True", "NULL", "nul", "nullx", "truefalse", "undefined", "'x'", "x", '"x', 'x"', "", '"x" "y"'):
        refuse(f"value {value!r}", f'{{"a":{value}}}', "not a value")
    for body in (
        *('{"a":1,}', '{,"a":1}', '{"a":1,,"b":2}', '{"a":1 "b":2}', '{"a",1}', '{"a"}', '{"a"=1}', "{a:1}"),
        *("{'a':1}", "{1:1}", '{null:1}', '{"a"::1}', '{"a":1;"b":2}'),
    ):
        refuse(f"body {body}", body, "not JSON")
    refuse("key twice", '{"a":1,"a":1}', "a key twice")
    refuse("key twice, null", '{"a":null,"a":null}', "a key twice")
    refuse("key twice, apart", '{"a":1,"b":2,"a":3}', "a key twice")
    refuse("key twice, by an escape", r'{"a":1,"\u0061":2}', "a key twice")
    refuse("key twice, the 40th", "{" + ",".join(f'"f{i}":1' for i in range(40)) + ',"f0":1}', "a key twice")
    for text in (
        *(r"\ud800", r"\udfff", r"\ud800x", r"\ud800\n", r"\ud800\u0041", r"\ud800\ud800", r"\udc00\ud800"),
        *(r"x\uDBFF",),
    ):
        refuse(f"lone surrogate {text}", f'{{"a":"{text}"}}', "a lone surrogate")
    refuse("lone surrogate in a key", r'{"a\ud800":1}', "a lone surrogate")
    for text in (
        *(r"\x41", r"\a", r"\'", r"\0", r"\U0041", r"\u", r"\u004", r"\u004g", r"\u 041", r"\u+041", r"\u00_1"),
        *("\\",),
    ):
        refuse(f"escape {text}", f'{{"a":"{text}"}}', "no escape of RFC 8259")
    for byte in (0, 9, 10, 13, 0x1F):
        refuse(f"control character {byte:02x}", f'{{"a":"x{chr(byte)}y"}}', "a control character in a string")
        refuse(
            f"control character {byte:02x} behind an escape", f'{{"a":"\\n{chr(byte)}"}}', "a control character"
        )
    for what, data in NOT_UTF8.items():
        refuse(f"not UTF-8: {what}", b'{"a":"' + data + b'"}', "not UTF-8")
        refuse(f"not UTF-8 behind an escape: {what}", b'{"a":"\\n' + data + b'"}', "not UTF-8")
    refuse("not UTF-8 in a key", b'{"a\xff":1}', "not UTF-8")
    refuse("not UTF-8 behind the object", b"{}\xff", "not UTF-8")
    refuse("UTF-16", '{"a":1}'.encode("utf-16-le"), "not UTF-8")
    for name in (
        *("", "1a", "_a", "a b", "a.b", "a-b", "\u00e4", "a\\n", "a\\u0000", "a ", " a", "n" * 65, "$a", "\uff41"),
    ):
        refuse(f"field name {ascii(name)}", f'{{"{name}":1}}', "no field name")
    refuse("1025 fields", "{" + ",".join(f'"f{i}":1' for i in range(1025)) + "}", "more than 1,024 fields")


# rollback.json: the events that bring an aggregate back (commands.md, section 13).


def past_event(*fields, event="e", deletes=False):
    return {"event": event, "deletes": deletes, "fields": sorted(fields)}


def state_at(events, version):
    """The fields at a version, and whether the aggregate had ended by then or not begun."""
    fields, ended = {}, True
    for e in events[:version]:
        if ended:
            fields = {}
        for name, kind, value in e["fields"]:
            if kind:
                fields[name] = (kind, value)
            else:
                fields.pop(name, None)
        ended = e["deletes"]
    return fields, ended


def restoring_events(events, to):
    (now, has_ended), (then, had_ended) = state_at(events, len(events)), state_at(events, to)
    if has_ended and had_ended:
        return []
    base = {} if has_ended else now
    fields = [(n, *then[n]) for n in then if base.get(n) != then[n]] + [(n, 0, "") for n in base if n not in then]
    if not fields and has_ended == had_ended:
        return []
    fields.sort(key=lambda f: f[0].encode())
    out = [past_event(*fields[i : i + 1024], event="eventful-rolled-back") for i in range(0, max(len(fields), 1), 1024)]
    if had_ended:
        out[-1].update(event="eventful-rolled-back-ended", deletes=True)
    return out


def rollback_vectors():
    digest = sha(b"eventful.schema.v1\0", b"eventful-rolled-back").hex()
    out = []

    def case(name, to, *events):
        def told(all_events):
            return [{**e, "fields": shown_fields(e["fields"])} for e in all_events]

        stores = restoring_events(events, to)
        out.append({"name": name, "schema_digest": digest, "events": told(events), "to": str(to), "stores": told(stores)})
        return events + tuple(stores)

    created = past_event(("a", 1, "1"), ("m", 1, "x"))
    updated = past_event(("a", 1, "2"), ("b", 1, "3"))
    deleted = past_event(event="gone", deletes=True)
    back = case("to before the end", 2, created, updated, deleted)
    again = case("a rollback of the rollback", 3, *back)
    case("and of that", 4, *again)
    case("to the first version", 1, *back)
    case("to before the first version", 0, created, updated)
    case("nothing differs", 1, created, past_event(("a", 1, "9")), past_event(("a", 1, "1")))
    case("ended by then, ended now", 3, created, updated, deleted, created, deleted)
    case("ended by then, alive now", 3, created, updated, deleted, past_event(("c", 1, "new")))
    case("never begun, ended now", 0, created, deleted)
    case("unset since", 1, created, past_event(("a", 0, ""), ("m", 0, "")))
    case("set since", 1, past_event(("a", 1, "1")), past_event(("b", 1, ""), ("Z", 1, "2")))
    case("an end without fields", 1, past_event(event="gone", deletes=True), created)
    case("an event without fields", 1, past_event(), created, deleted)
    case("the same value, sealed since", 1, created, past_event(("m", 2, "AQA" + "A" * 37)))
    case("sealed then", 1, past_event(("m", 2, "AQA" + "A" * 37)), past_event(("m", 1, "x")))
    many = [past_event(*[(f"f{i:04}", 1, "x") for i in range(k, k + 1024)]) for k in (0, 1024)]
    case("2,048 fields", 2, *many, deleted)
    case("2,048 fields that were not there", 1, past_event(), *many)
    return out


# large.json: inputs at the limits, as runs of repeated bytes.


def large(name, of, runs, error=None, **more):
    data = b"".join(part * times for part, times in runs)
    out = {"name": name, "of": of, "runs": [{"hex": part.hex(), "times": times} for part, times in runs]}
    out.update({"length": str(len(data)), "ok": error is None})
    return {**out, **more} if error is None else {**out, "error": error}


def large_vectors():
    out = []
    for size, error in ((1_048_576, None), (1_048_577, "value is longer than 1,048,576 bytes")):
        runs = [(b"\1\1a\1" + uv(size), 1), (b"x", size)]
        digest = digest_of(SALT, b"".join(part * times for part, times in runs)).hex()
        out.append(large(f"value of {size} bytes", "payload", runs, error, salt=SALT.hex(), digest=digest))
    small = event(event="e", payload=payload())
    for count, error in ((4096, None), (4097, "more than 4,096 events")):
        c = rooted(commit(label="large", events=[small] * count))
        head = join(commit_segments({**c, "events": [], "event_count": count}))
        runs = [(head, 1), (join(event_segments(small)), count)]
        assert b"".join(part * times for part, times in runs) == encode_commit(c)
        out.append(large(f"{count} events", "commit", runs, error, root_after=c["root"].hex()))
    return out


# Writing.

SUBJECTS = {
    "payload": payload_vectors,
    "leaf": leaf_vectors,
    "tree": tree_vectors,
    "commit": commit_vectors,
    "block": block_vectors,
    "chain": chain_vectors,
    "position": position_vectors,
    "export": export_vectors,
    "digest": digest_vectors,
    "subjects": subject_vectors,
    "command": command_vectors,
    "rollback": rollback_vectors,
    "large": large_vectors,
}


def write(name, vectors):
    labels = [v.get("name", v.get("text")) for v in vectors]
    twice = {x for x in labels if labels.count(x) > 1}
    assert not twice, (name, twice)
    with open(os.path.join(HERE, name + ".json"), "w", encoding="ascii", newline="\n") as file:
        json.dump(vectors, file, indent=1)
        file.write("\n")


def main():
    for name, make in SUBJECTS.items():
        vectors = make()
        write(name, vectors)
        print(f"{name}.json: {len(vectors)} vectors, {sum(v.get('ok') is False for v in vectors)} of them bad")
    sys.path.insert(0, os.path.dirname(HERE))
    sys.dont_write_bytecode = True
    import verify

    return verify.main(["--vectors", HERE])


if __name__ == "__main__":
    sys.exit(main())
