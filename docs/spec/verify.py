#!/usr/bin/env python3
"""An independent reader of the EventfulDB log format, version 1. The authority is log.md in this directory.
Its vectors also cover subjects.md and parts of commands.md.

    python3 verify.py EXPORT.json     check the export of an aggregate ("-" reads standard input)
    python3 verify.py --vectors DIR   run the test vectors

Exit status of a check: 0 confirmed, 7 refuted, 2 cannot be read as an export. Of the vectors: 0 all hold, 1 not all.

Confirmed means: the document agrees with itself, down to each event. Whether its root is the one that the server
holds, or once published, is for the reader to compare. Commit id, command digest, schema version and position are not
part of a leaf, so no hash vouches for them.

Needs Python 3.9 or later and nothing beside the standard library.
"""

import base64
import hashlib
import json
import os
import re
import sys
import unicodedata
from dataclasses import dataclass, field
from typing import List, Optional

ZERO16 = bytes(16)
MAX_VERSION = 2**63 - 2
MAX_VALUE = 1_048_576
EARLIEST = -(2**63)

SITE = re.compile(r"[a-z][a-z0-9-]{0,19}")
TYPE = re.compile(r"[a-z][a-z0-9_-]{0,39}")  # aggregate type and log
EVENT_TYPE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
BASE64URL = re.compile(r"[A-Za-z0-9_-]*")
NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,19})")
HASH_HEX = re.compile(r"[0-9a-f]{64}")
ID_HEX = re.compile(r"[0-9a-f]{32}")


class FormatError(Exception):
    """The bytes break a rule of log.md."""


class UnknownVersion(FormatError):
    """A block of a later format version."""


class Unreadable(Exception):
    """The file is no export."""


class Refuted(Exception):
    """The export is readable and wrong."""


# Section 1: primitives.


class Reader:
    """Takes primitives off the front of some bytes. `what` names the field in errors."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def left(self):
        return len(self.data) - self.at

    def take(self, n, what):
        if n > self.left():
            raise FormatError(f"{what}: truncated, {n} bytes wanted, {self.left()} left")
        self.at += n
        return self.data[self.at - n : self.at]

    def u8(self, what):
        return self.take(1, what)[0]

    def u32(self, what):
        return int.from_bytes(self.take(4, what), "big")

    def u64(self, what):
        return int.from_bytes(self.take(8, what), "big")

    def time(self, what):
        return int.from_bytes(self.take(8, what), "big", signed=True)

    def hash(self, what):
        return self.take(32, what)

    def id16(self, what):
        return self.take(16, what)

    def uv(self, what):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8(what)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift:
                    raise FormatError(f"{what}: uv is not in its shortest form")
                if value >= 2**64:
                    break
                return value
        raise FormatError(f"{what}: uv is 2^64 or more")

    def bytes(self, what):
        return self.take(self.uv(what + " length"), what)

    def str(self, what):
        try:
            return self.bytes(what).decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError(f"{what}: not UTF-8") from None

    def optional_time(self, what):
        flag = self.u8(what + " flag")
        if flag > 1:
            raise FormatError(f"{what} flag: {flag} is neither 0 nor 1")
        return self.time(what) if flag else None

    def end(self, what):
        if self.left():
            raise FormatError(f"{what}: {self.left()} bytes left over")


def uv(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def lp(data):
    """`bytes` of section 1, and `str` for a str."""
    data = data.encode("utf-8") if isinstance(data, str) else data
    return uv(len(data)) + data


def time8(t):
    return t.to_bytes(8, "big", signed=True)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# Section 2: names and limits.


def named(value, pattern, what):
    if not pattern.fullmatch(value):
        raise FormatError(f"{what}: {short(value)} does not match ^{pattern.pattern}$")
    return value


def sized(value, low, high, what):
    size = len(value.encode("utf-8"))
    if not low <= size <= high:
        raise FormatError(f"{what}: {size} bytes, allowed are {low} to {high}")
    return value


def text(value, low, high, what):
    sized(value, low, high, what)
    if any(unicodedata.category(ch) == "Cc" for ch in value):
        raise FormatError(f"{what}: holds a control character")
    return value


def visible(value, low, high, what):
    sized(value, low, high, what)
    if any(not "\x21" <= ch <= "\x7e" for ch in value):
        raise FormatError(f"{what}: holds a byte outside 0x21 to 0x7E")
    return value


def aggregate_id(value):
    text(value, 1, 128, "aggregate id")
    if unicodedata.normalize("NFC", value) != value:
        raise FormatError("aggregate id: not in Unicode normalisation form C")
    return value


def actor_name(value):
    kind, _, name = text(value, 1, 256, "actor").partition(":")
    if not kind or not name:
        raise FormatError("actor: not of the form <identifier type>:<identifier id>")
    return value


def short(value):
    """A foreign value as it may be printed in an error: ASCII, and not long."""
    shown = ascii(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


# Section 3: fields.


@dataclass
class Field:
    name: str
    kind: int
    value: str


def decode_payload(data):
    r = Reader(data)
    count = r.uv("field count")
    if count > 1024:
        raise FormatError(f"field count: {count}, at most 1024 allowed")
    fields = []
    for _ in range(count):
        one = decode_field(r)
        if fields and one.name <= fields[-1].name:  # names are ASCII: order of characters is order of bytes
            raise FormatError(f"field {one.name}: not in strictly ascending order")
        fields.append(one)
    r.end("payload")
    return fields


def decode_field(r):
    name = named(r.str("field name"), FIELD_NAME, "field name")
    kind = r.u8(f"kind of {name}")
    value = sized(r.str(f"value of {name}"), 0, MAX_VALUE, f"value of {name}")
    if kind > 2:
        raise FormatError(f"kind of {name}: {kind} is none of 0, 1 and 2")
    if kind == 0 and value:
        raise FormatError(f"value of {name}: the field is unset and has a value")
    if kind == 2:
        check_sealed(value, f"value of {name}")
    return Field(name, kind, value)


def check_sealed(value, what):
    """A sealed value has its shape; what it seals only the key of its aggregate opens."""
    if not BASE64URL.fullmatch(value) or len(value) % 4 == 1:
        raise FormatError(f"{what}: not base64url without padding")
    raw = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != value:
        raise FormatError(f"{what}: the last bits of the base64url are not zero")
    r = Reader(raw)
    layout = r.u8(f"{what}: layout")
    if layout != 1:
        raise FormatError(f"{what}: layout {layout}, this program knows 1")
    flags = r.u8(f"{what}: flags")
    if flags > 3:
        raise FormatError(f"{what}: flags {flags}, known are 0 to 3")
    if flags & 2:
        r.hash(f"{what}: keyed hash")
    r.take(12, f"{what}: nonce")
    if r.left() < 16:
        raise FormatError(f"{what}: {r.left()} bytes of ciphertext, its tag alone has 16")


def payload_digest(salt, payload):
    return sha256(b"eventful.payload.v1\0", salt, payload)


# Section 4: leaves.


@dataclass
class Leaf:
    """What stands in the leaf of an event."""

    site: str
    branch: int
    type: str
    id: str
    version: int
    event: str
    schema_digest: bytes
    payload_digest: bytes
    occurred_at: Optional[int]
    writer_time: int
    actor: str
    token_id: str
    issuer: str
    command_id: str
    correlation: str
    causation: str
    traceparent: str
    transaction_id: bytes
    transaction_index: int
    transaction_count: int
    event_index: int
    event_count: int
    key_commitment: bytes


def leaf_entry(f):
    occurred = b"\0" if f.occurred_at is None else b"\1" + time8(f.occurred_at)
    origin = [lp(f.site), uv(f.branch), lp(f.type), lp(f.id), uv(f.version)]
    content = [lp(f.event), f.schema_digest, f.payload_digest, occurred, time8(f.writer_time)]
    by = [lp(f.actor), lp(f.token_id), lp(f.issuer)]
    cause = [lp(f.command_id), lp(f.correlation), lp(f.causation), lp(f.traceparent)]
    place = [f.transaction_id, uv(f.transaction_index), uv(f.transaction_count), uv(f.event_index), uv(f.event_count)]
    return b"".join([b"eventful.event.v1\0", *origin, *content, *by, *cause, *place, lp(f.key_commitment)])


def leaf_hash(entry):
    return sha256(b"\0", entry)


# Section 5: trees.


def tree_root(leaves):
    """MTH of RFC 6962, section 2.1, word for word."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else sha256()
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    return sha256(b"\1", tree_root(leaves[:split]), tree_root(leaves[split:]))


class Tree:
    """The same tree, grown leaf by leaf: it keeps the frontier only."""

    def __init__(self):
        self.size = 0
        self.frontier = []

    def add(self, leaf):
        size = self.size
        while size & 1:
            leaf = sha256(b"\1", self.frontier.pop(), leaf)
            size >>= 1
        self.frontier.append(leaf)
        self.size += 1

    def root(self):
        if not self.frontier:
            return sha256()
        root = self.frontier[-1]
        for left in reversed(self.frontier[:-1]):
            root = sha256(b"\1", left, root)
        return root


# Section 6: commits.


@dataclass
class Event:
    event: str
    schema_digest: bytes
    schema_version: int
    salt: bytes
    occurred_at: Optional[int]
    payload: bytes
    fields: List[Field]


@dataclass
class Commit:
    commit_id: bytes
    site: str
    branch: int
    command_id: str
    command_digest: bytes
    type: str
    id: str
    first_version: int
    root: bytes
    actor: str
    token_id: str
    issuer: str
    correlation: str
    causation: str
    traceparent: str
    transaction_id: bytes
    transaction_index: int
    transaction_count: int
    writer_time: int
    key_commitment: bytes
    events: List[Event] = field(default_factory=list)

    def aggregate(self):
        return self.site, self.branch, self.type, self.id

    def last_version(self):
        return self.first_version + len(self.events) - 1


def decode_commit(data):
    r = Reader(data)
    layout = r.u8("layout version")
    if layout != 1:
        raise FormatError(f"layout version: {layout}, this program knows 1")
    c = decode_commit_head(r)
    if c.transaction_index >= c.transaction_count:
        raise FormatError(f"transaction index: {c.transaction_index} is not less than the count {c.transaction_count}")
    if c.transaction_count == 1 and c.transaction_id != c.commit_id:
        raise FormatError("transaction id: not the commit id, in a commit that is no part of a transaction")
    count = r.uv("number of events")
    if not 1 <= count <= 4096:
        raise FormatError(f"number of events: {count}, allowed are 1 to 4096")
    if c.first_version < 1 or c.first_version + count - 1 > MAX_VERSION:
        raise FormatError(f"first version: {c.first_version} with {count} events is out of range")
    c.events = [decode_event(r) for _ in range(count)]
    r.end("commit")
    if not c.key_commitment and any(f.kind == 2 for e in c.events for f in e.fields):
        raise FormatError("key commitment: none, and a field is sealed")
    return c


def decode_commit_head(r):
    c = Commit(
        commit_id=r.id16("commit id"),
        site=named(r.str("origin site"), SITE, "origin site"),
        branch=r.uv("branch"),
        command_id=visible(r.str("command id"), 1, 128, "command id"),
        command_digest=r.hash("command digest"),
        type=named(r.str("aggregate type"), TYPE, "aggregate type"),
        id=aggregate_id(r.str("aggregate id")),
        first_version=r.uv("first version"),
        root=r.hash("aggregate root"),
        actor=actor_name(r.str("actor")),
        token_id=visible(r.str("token id"), 1, 64, "token id"),
        issuer=visible(r.str("issuer"), 1, 64, "issuer"),
        correlation=text(r.str("correlation"), 0, 128, "correlation"),
        causation=text(r.str("causation"), 0, 128, "causation"),
        traceparent=visible(r.str("traceparent"), 0, 128, "traceparent"),
        transaction_id=r.id16("transaction id"),
        transaction_index=r.uv("transaction index"),
        transaction_count=r.uv("transaction count"),
        writer_time=r.time("writer time"),
        key_commitment=r.bytes("key commitment"),
    )
    if len(c.key_commitment) not in (0, 32):
        raise FormatError(f"key commitment: {len(c.key_commitment)} bytes, allowed are 0 and 32")
    return c


def decode_event(r):
    event = named(r.str("event type"), EVENT_TYPE, "event type")
    schema_digest = r.hash("schema digest")
    schema_version = r.uv("schema version")
    salt = r.id16("salt")
    occurred_at = r.optional_time("occurred-at")
    payload = r.bytes("payload")
    return Event(event, schema_digest, schema_version, salt, occurred_at, payload, decode_payload(payload))


def commit_leaves(c):
    """The leaf hashes of the events of a commit."""
    out = []
    for i, e in enumerate(c.events):
        shared = {name: getattr(c, name) for name in Leaf.__dataclass_fields__ if hasattr(c, name)}
        leaf = Leaf(
            **shared,
            version=c.first_version + i,
            event=e.event,
            schema_digest=e.schema_digest,
            payload_digest=payload_digest(e.salt, e.payload),
            occurred_at=e.occurred_at,
            event_index=i,
            event_count=len(c.events),
        )
        out.append(leaf_hash(leaf_entry(leaf)))
    return out


# Section 7: blocks.


@dataclass
class Record:
    link_sequence: int
    link_index: int
    link_block: bytes
    commit: Commit
    commit_bytes: bytes


@dataclass
class Block:
    block_id: bytes
    previous: bytes
    epoch: int
    system_sequence: int
    system_block: bytes
    tree_size: int
    tree_root: bytes
    time: int
    records: List[Record] = field(default_factory=list)

    def events(self):
        return sum(len(record.commit.events) for record in self.records)


NOTHING = Block(ZERO16, ZERO16, 0, 0, ZERO16, 0, sha256(), EARLIEST)


def decode_block(data, sequence):
    """Reads the block that is the message `sequence` of its stream."""
    if data[:3] == b"EVB" and len(data) > 3 and data[3] > 1:
        raise UnknownVersion(f"format version: {data[3]}, this program knows 1")
    r = Reader(data)
    if r.take(3, "magic") != b"EVB":
        raise FormatError("magic: not EVB")
    if r.u8("format version") != 1:
        raise FormatError("format version: not 1")
    b = Block(
        block_id=r.id16("block id"),
        previous=r.id16("previous block"),
        epoch=r.u64("writer epoch"),
        system_sequence=r.u64("system sequence"),
        system_block=r.id16("system block"),
        tree_size=r.u64("log tree size"),
        tree_root=r.hash("log tree root"),
        time=r.time("writer time"),
    )
    if b.block_id == ZERO16:
        raise FormatError("block id: zero")
    if (b.system_sequence == 0) != (b.system_block == ZERO16):
        raise FormatError("system sequence and system block: only one of them is zero")
    b.records = [decode_record(data) for data in cut_records(r)]
    check_times(b)
    check_transactions(b)
    check_links(b, sequence)
    return b


def cut_records(r):
    count = r.u32("number of commits")
    if 4 * count > r.left():
        raise FormatError(f"end offsets: truncated, {count} wanted, {r.left()} bytes left")
    ends = [r.u32("end offset") for _ in range(count)]
    starts = [0] + ends[:-1]
    if any(end <= start for start, end in zip(starts, ends)):
        raise FormatError("end offsets: not ascending")
    records = [r.take(end - start, f"record {i}") for i, (start, end) in enumerate(zip(starts, ends))]
    r.end("block")
    return records


def decode_record(data):
    r = Reader(data)
    sequence = r.u64("link sequence")
    index = r.u32("link index")
    block = r.id16("link block")
    commit_bytes = r.take(r.left(), "commit")
    return Record(sequence, index, block, decode_commit(commit_bytes), commit_bytes)


def check_times(b):
    for i, record in enumerate(b.records):
        if record.commit.writer_time != b.time:
            raise FormatError(f"commit {i}: its writer time is not the block's")


def check_transactions(b):
    """A transaction lies whole in the block: its commits consecutive, with indices from 0."""
    want, transaction = 0, None
    for i, record in enumerate(b.records):
        c = record.commit
        if want == 0:
            transaction = (c.transaction_id, c.transaction_count)
        if c.transaction_index != want or (c.transaction_id, c.transaction_count) != transaction:
            raise FormatError(f"commit {i}: not the one of its transaction that belongs here")
        want = (want + 1) % c.transaction_count
    if want:
        raise FormatError("the last transaction is not whole")


def check_links(b, sequence):
    seen = {}
    for i, record in enumerate(b.records):
        aggregate, first = record.commit.aggregate(), record.commit.first_version == 1
        link = (record.link_sequence, record.link_index, record.link_block)
        if first and link != (0, 0, ZERO16):
            raise FormatError(f"commit {i}: it is the first of its aggregate and has a link")
        if not first and (record.link_sequence == 0 or record.link_block == ZERO16):
            raise FormatError(f"commit {i}: it is not the first of its aggregate and has no link")
        if aggregate in seen:
            if link != (sequence, seen[aggregate], b.block_id):
                raise FormatError(f"commit {i}: its link does not name commit {seen[aggregate]} of this block")
        elif record.link_sequence >= sequence:
            raise FormatError(f"commit {i}: its link does not name an earlier sequence")
        seen[aggregate] = i


def continues(b, last):
    follows = b.previous == last.block_id and b.tree_size == last.tree_size + b.events()
    return follows and b.epoch >= last.epoch and b.time > last.time


def which_blocks_count(messages):
    """Yields (sequence, "block" | "void" | "damage" | "refused") for messages of (sequence, bytes), in order."""
    last, before, damaged = NOTHING, 0, False
    for sequence, data in messages:
        for missing in range(before + 1, sequence):
            damaged = True
            yield missing, "damage"
        before = sequence
        try:
            b = decode_block(data, sequence)
        except UnknownVersion:
            yield sequence, "refused"
            return
        except FormatError:
            damaged = True
            yield sequence, "damage"
            continue
        if damaged or continues(b, last):
            last, damaged = b, False
            yield sequence, "block"
        else:
            yield sequence, "void"


# Section 8: positions.


@dataclass
class Position:
    log: str
    sequence: int
    index: int
    block: bytes


def parse_position(value):
    parts = value.split("/")
    if len(parts) != 4:
        raise FormatError("position: not of the form <log>/<sequence>/<index>/<block id>")
    log = named(parts[0], TYPE, "log")
    sequence = int(named(parts[1], NUMBER, "sequence"))
    index = int(named(parts[2], NUMBER, "index"))
    if not 1 <= sequence < 2**64:
        raise FormatError(f"sequence: {sequence} is out of range")
    if index >= 2**32:
        raise FormatError(f"index: {index} is out of range")
    return Position(log, sequence, index, bytes.fromhex(named(parts[3], ID_HEX, "block id")))


# Section 9: exports.


@dataclass
class ExportedCommit:
    position: Position
    commit: bytes
    leaves: List[bytes]


@dataclass
class Export:
    site: str
    log: str
    type: str
    id: str
    version: int
    root: bytes
    commits: List[ExportedCommit]


def parse_json(data):
    def number(digits):
        if len(digits) > 20:
            raise ValueError(f"a number of {len(digits)} characters")
        return int(digits)

    def constant(name):
        raise ValueError(f"{name} is not JSON")

    def members(pairs):
        out = dict(pairs)
        if len(out) != len(pairs):
            raise ValueError("an object has a member twice")
        return out

    try:
        return json.loads(data.decode("utf-8"), parse_int=number, parse_constant=constant, object_pairs_hook=members)
    except UnicodeDecodeError:
        raise Unreadable("not UTF-8") from None
    except RecursionError:
        raise Unreadable("not an export: nested too deep") from None
    except (ValueError, MemoryError) as e:
        raise Unreadable(f"not JSON: {e}") from None


def member(obj, name, kind, where=""):
    if not isinstance(obj, dict):
        raise Unreadable(f"{where or 'the document'} is not an object")
    if name not in obj:
        raise Unreadable(f"{where}{'.' if where else ''}{name} is missing")
    value = obj[name]
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {str: "a string", int: "an integer", list: "an array"}[kind]
        raise Unreadable(f"{where}{'.' if where else ''}{name} is not {wanted}")
    return value


def hex_hash(value, where):
    if not isinstance(value, str) or not HASH_HEX.fullmatch(value):
        raise Unreadable(f"{where} is not 64 lower-case hexadecimal digits")
    return bytes.fromhex(value)


def base64_bytes(value, where):
    try:
        data = base64.b64decode(value.encode("ascii"), validate=True)
    except ValueError:
        data = None
    if data is None or base64.b64encode(data).decode("ascii") != value:
        raise Unreadable(f"{where} is not base64 of RFC 4648, section 4, with padding")
    return data


def parse_export(doc):
    if member(doc, "format", str) != "eventful.export.v1":
        raise Unreadable(f"format {short(doc['format'])}, this program knows 'eventful.export.v1'")
    head = {name: member(doc, name, str) for name in ("site", "log", "type", "id")}
    version, root = member(doc, "version", int), hex_hash(member(doc, "root", str), "root")
    commits = [parse_exported_commit(c, f"commits[{i}]") for i, c in enumerate(member(doc, "commits", list))]
    if not commits:
        raise Unreadable("commits is empty")
    return Export(**head, version=version, root=root, commits=commits)


def parse_exported_commit(obj, where):
    try:
        position = parse_position(member(obj, "position", str, where))
    except FormatError as e:
        raise Unreadable(f"{where}.position: {e}") from None
    commit = base64_bytes(member(obj, "commit", str, where), f"{where}.commit")
    leaves = [hex_hash(leaf, f"{where}.leaves[{i}]") for i, leaf in enumerate(member(obj, "leaves", list, where))]
    return ExportedCommit(position, commit, leaves)


def check_export(doc):
    """Returns the export and its (version, event type, leaf hash) lines. Raises Unreadable or Refuted."""
    export = parse_export(doc)
    tree, lines, before = Tree(), [], None
    for i, exported in enumerate(export.commits):
        version = tree.size + 1
        try:
            c = decode_commit(exported.commit)
        except FormatError as e:
            raise Refuted(f"version {version}: commits[{i}] does not decode: {e}") from None
        check_belongs(export, exported, c, version)
        check_order(before, exported, c)
        lines += check_leaves(exported, c, tree)
        before = (exported, c)
    version = tree.size
    must(export.version == version, version, f"the document states version {export.version}, its commits end here")
    must(export.root == tree.root(), version, f"the document states another root than {tree.root().hex()}")
    return export, lines


def must(holds, version, why):
    if not holds:
        raise Refuted(f"version {version}: {why}")


def check_belongs(export, exported, c, version):
    must(c.first_version == version, version, f"expected here, but the commit begins with version {c.first_version}")
    for name in ("site", "type", "id"):
        stated, found = getattr(export, name), getattr(c, name)
        must(stated == found, version, f"{name} is {short(found)} in the commit, {short(stated)} in the document")
    log = exported.position.log
    must(log == export.log, version, f"log is {short(log)} in the position, {short(export.log)} in the document")


def check_order(before, exported, c):
    """What log.md, sections 6 and 7, promises about two commits of one aggregate that follow each other."""
    if before is None:
        return
    old, new, version = before[0].position, exported.position, c.first_version
    must((old.sequence, old.index) < (new.sequence, new.index), version, "its position is not behind the one before")
    must(before[1].branch == c.branch, version, "the commit is of another branch than the one before")
    if old.sequence == new.sequence:
        must(old.block == new.block, version, "two block ids at one sequence")
        must(before[1].writer_time == c.writer_time, version, "two writer times in one block")


def check_leaves(exported, c, tree):
    computed, lines = commit_leaves(c), []
    for i, leaf in enumerate(computed):
        version = c.first_version + i
        must(i < len(exported.leaves), version, "its leaf hash is missing")
        must(exported.leaves[i] == leaf, version, f"the leaf hash is {leaf.hex()}, not {exported.leaves[i].hex()}")
        tree.add(leaf)
        lines.append((version, c.events[i].event, leaf))
    version = c.last_version()
    must(
        len(exported.leaves) == len(computed), version, f"{len(exported.leaves)} leaf hashes for {len(computed)} events"
    )
    must(tree.root() == c.root, version, f"the root is {tree.root().hex()}, the commit states {c.root.hex()}")
    return lines


# commands.md, section 5: the command digest.


def command_digest(actor, commits):
    """commits: (type, id, expected version, [(event type, occurred-at or None, payload)])."""
    parts = [b"eventful.command.v1\0", lp(actor), uv(len(commits))]
    for type_, id_, expected, events in commits:
        parts += [lp(type_), lp(id_), lp(expected), uv(len(events))]
        for event, occurred_at, payload in events:
            occurred = b"\0" if occurred_at is None else b"\1" + time8(occurred_at)
            parts += [lp(event), occurred, lp(payload)]
    return sha256(*parts)


# subjects.md.

ESCAPED = re.compile(r"(?:[A-Za-z0-9_-]|=[0-9A-F]{2})*")
AGGREGATE_VERBS = ("get", "history", "verify", "export", "snapshot", "snapshots")
TYPE_VERBS = ("list", "verify")
ALL_VERBS = ("list", "verify", "event", "resolve")


def escape(data):
    return re.sub(rb"[^A-Za-z0-9_-]", lambda m: b"=%02X" % m[0][0], data).decode("ascii")


def unescape(value):
    """The bytes that an escaped aggregate id stands for."""
    if not ESCAPED.fullmatch(value):
        raise FormatError(f"escaped id: {short(value)} holds what is neither plain nor =XX")
    data = re.sub(rb"=(..)", lambda m: bytes.fromhex(m[1].decode("ascii")), value.encode("ascii"), flags=re.DOTALL)
    if escape(data) != value:
        raise FormatError(f"escaped id: {short(value)} escapes what needs no escape")
    return data


def utf8(data, what):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(f"{what}: not UTF-8") from None


def parse_subject(value, first, counts):
    tokens = value.split(".")
    if tokens[0] != first or len(tokens) not in counts:
        raise FormatError(f"subject: {short(value)} is of no form that begins with {first}")
    return tokens[1:]


def parse_escaped_id(value):
    return aggregate_id(utf8(unescape(value), "aggregate id"))


def parse_command_subject(value):
    type_, id_, event = parse_subject(value, "cmd", (4,))
    named(type_, TYPE, "aggregate type")
    return {"type": type_, "id": parse_escaped_id(id_), "event": named(event, EVENT_TYPE, "event type")}


def parse_transaction_subject(value):
    return {"type": named(parse_subject(value, "cmd", (2,))[0], TYPE, "aggregate type")}


def parse_query_subject(value):
    type_, *id_, verb = parse_subject(value, "qry", (3, 4))
    verbs = AGGREGATE_VERBS if id_ else ALL_VERBS if type_ == "_" else TYPE_VERBS
    if verb not in verbs:
        raise FormatError(f"verb: {short(verb)}, allowed are {', '.join(verbs)}")
    if type_ == "_" and not id_:
        return {"type": "", "id": "", "verb": verb}
    named(type_, TYPE, "aggregate type")
    return {"type": type_, "id": parse_escaped_id(id_[0]) if id_ else "", "verb": verb}


def parse_aggregate(value):
    type_, slash, id_ = value.partition("/")
    if not slash:
        raise FormatError(f"aggregate: {short(value)} is not type/id")
    return {"type": named(type_, TYPE, "aggregate type"), "id": aggregate_id(id_)}


# commands.md, sections 2 and 4: the body of a command and the expected version.


class Members(list):
    """The members of a JSON object, in order, as pairs."""


def not_json(what):
    raise ValueError(f"{what} is not JSON")


def decode_body(data):
    """The fields of a command, in the order in which they were sent."""
    if not data:
        return []
    whole = utf8(data, "body")
    try:
        # numbers stay text; without the constants, NaN and Infinity would pass
        body = json.loads(whole, parse_int=str, parse_float=str, parse_constant=not_json, object_pairs_hook=Members)
    except (ValueError, RecursionError) as e:
        raise FormatError(f"body: {e}") from None
    if not isinstance(body, Members):
        raise FormatError("body: not an object")
    if len(body) > 1024:
        raise FormatError(f"body: {len(body)} fields, at most 1024 allowed")
    if len({name for name, _ in body}) != len(body):
        raise FormatError("body: a key occurs twice")
    return [body_field(name, value) for name, value in body]


def body_field(name, value):
    named(name, FIELD_NAME, "field name")
    if value is None:
        return Field(name, 0, "")
    if isinstance(value, bool):
        return Field(name, 1, "true" if value else "false")
    if not isinstance(value, str):
        raise FormatError(f"value of {name}: an object or array")
    if any("\ud800" <= ch <= "\udfff" for ch in value):  # json joins pairs, and lets lone ones pass
        raise FormatError(f"value of {name}: a lone surrogate")
    return Field(name, 1, sized(value, 0, MAX_VALUE, f"value of {name}"))


def parse_expected(value):
    if value in ("any", "none", "exists"):
        return value
    if int(named(value, NUMBER, "expected version")) > MAX_VERSION:
        raise FormatError(f"expected version: {value} is out of range")
    return value


# The test vectors. Each run_ function raises when its vector does not hold.

STRINGS = {  # integers that the vectors write as decimal strings
    *("branch", "version", "first_version", "schema_version", "occurred_at", "writer_time", "time", "epoch"),
    *("transaction_index", "transaction_count", "tree_size", "sequence", "system_sequence", "link_sequence"),
}


def shown(value, name=""):
    """A decoded value in the notation of the vectors."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [shown(v) for v in value]
    if hasattr(value, "__dataclass_fields__"):
        return {name: shown(getattr(value, name), name) for name in value.__dataclass_fields__}
    return str(value) if name in STRINGS and value is not None else value


def equal(got, want, what):
    if got != want:
        raise AssertionError(f"{what}: got {short(got)}, want {short(want)}")


def agree(decoded, vector):
    for name, value in shown(decoded).items():
        equal(value, vector[name], name)


def decoded(vector, decode):
    """Decodes; None where the vector rightly is refused."""
    try:
        value = decode()
    except (FormatError, Unreadable, Refuted) as e:
        if vector["ok"]:
            raise AssertionError(f"refused: {e}") from None
        return None
    equal(True, vector["ok"], "ok")
    return value


def run_payload(v):
    data = bytes.fromhex(v["hex"])
    fields = decoded(v, lambda: decode_payload(data))
    if fields is not None:
        equal(shown(fields), v["fields"], "fields")
        equal(payload_digest(bytes.fromhex(v["salt"]), data).hex(), v["digest"], "digest")


def run_leaf(v):
    binary = {"schema_digest", "payload_digest", "transaction_id", "key_commitment"}
    values = {}
    for name in Leaf.__dataclass_fields__:
        value = v[name]
        if name in binary:
            value = bytes.fromhex(value)
        elif name in STRINGS and value is not None:
            value = int(value)
        values[name] = value
    entry = leaf_entry(Leaf(**values))
    equal(entry.hex(), v["entry"], "entry")
    equal(leaf_hash(entry).hex(), v["leaf"], "leaf")


def run_tree(v):
    leaves, tree = [bytes.fromhex(leaf) for leaf in v["leaves"]], Tree()
    for leaf in leaves:
        tree.add(leaf)
    equal(tree_root(leaves).hex(), v["root"], "root")
    equal(tree.root().hex(), v["root"], "root from the frontier")
    equal(shown(tree.frontier), v["frontier"], "frontier")


def run_commit(v):
    c = decoded(v, lambda: decode_commit(bytes.fromhex(v["hex"])))
    if c is None:
        return
    agree(c, v)
    equal(shown(commit_leaves(c)), v["leaves"], "leaves")
    if v["before"] is not None:
        leaves = [bytes.fromhex(leaf) for leaf in v["before"]] + commit_leaves(c)
        equal(tree_root(leaves).hex(), v["root_after"], "root after")


def run_block(v):
    b = decoded(v, lambda: decode_block(bytes.fromhex(v["hex"]), int(v["sequence"])))
    if b is None:
        return
    records, leaves = [], []
    for record in b.records:
        link = {name: shown(getattr(record, name), name) for name in ("link_sequence", "link_index", "link_block")}
        records.append({**link, "commit": record.commit_bytes.hex()})
        leaves += commit_leaves(record.commit)
    agree(b, {**v, "records": shown(b.records)})
    equal(records, v["records"], "records")
    equal(shown(leaves), v["leaves"], "leaves")


def run_chain(v):
    messages = [(int(m["seq"]), bytes.fromhex(m["hex"])) for m in v["messages"]]
    got = [{"seq": str(sequence), "what": what} for sequence, what in which_blocks_count(messages)]
    equal(got, v["expect"], "expect")


def run_position(v):
    p = decoded(v, lambda: parse_position(v["text"]))
    if p is not None:
        agree(p, v)


def run_export(v):
    status = 0
    try:
        check_export(v["document"])
    except Unreadable:
        status = 2
    except Refuted:
        status = 7
    equal(status, v["exit"], "exit status")
    equal(status == 0, v["ok"], "ok")


def run_digest(v):
    commits = []
    for c in v["commits"]:
        events = []
        for e in c["events"]:
            occurred_at = None if e["occurred_at"] is None else int(e["occurred_at"])
            payload = bytes.fromhex(e["payload"])
            equal(shown(decode_payload(payload)), e["fields"], "fields")
            events.append((e["event"], occurred_at, payload))
        commits.append((c["type"], c["id"], c["expected_version"], events))
    equal(command_digest(v["actor"], commits).hex(), v["digest"], "digest")


def restoring(events, to):
    """The events that bring an aggregate back to a version (commands.md, section 13), worked out from the newest event backwards."""

    def past(version):
        fields = {}
        for i in range(version, 0, -1):
            e = events[i - 1]
            if i < version and e["deletes"]:
                break
            for f in e["fields"]:
                fields.setdefault(f["name"], f)
        return {n: f for n, f in fields.items() if f["kind"]}, version == 0 or events[version - 1]["deletes"]

    (now, ended_now), (then, ended_then) = past(len(events)), past(to)
    if ended_now:
        if ended_then:
            return []
        now = {}
    unset = [{"name": n, "kind": 0, "value": ""} for n in now.keys() - then.keys()]
    fields = sorted(unset + [f for n, f in then.items() if now.get(n) != f], key=lambda f: f["name"].encode("utf-8"))
    if not fields and not ended_now and not ended_then:
        return []
    out = []
    while fields or not out:
        out.append({"event": "eventful-rolled-back", "deletes": False, "fields": fields[:1024]})
        fields = fields[1024:]
    if ended_then:
        out[-1].update(event="eventful-rolled-back-ended", deletes=True)
    return out


def run_rollback(v):
    equal(hashlib.sha256(b"eventful.schema.v1\0eventful-rolled-back").hexdigest(), v["schema_digest"], "schema digest")
    equal(restoring(v["events"], int(v["to"])), v["stores"], "stores")


def run_large(v):
    data = b"".join(bytes.fromhex(run["hex"]) * run["times"] for run in v["runs"])
    equal(str(len(data)), v["length"], "length")
    if v["of"] == "payload":
        if decoded(v, lambda: decode_payload(data)) is not None:
            equal(payload_digest(bytes.fromhex(v["salt"]), data).hex(), v["digest"], "digest")
    else:
        c = decoded(v, lambda: decode_commit(data))
        if c is not None:
            equal(tree_root(commit_leaves(c)).hex(), v["root_after"], "root after")


SUBJECT_PARSERS = {
    "command": parse_command_subject,
    "transaction": parse_transaction_subject,
    "query": parse_query_subject,
    "aggregate": parse_aggregate,
}


def input_bytes(v):
    return bytes.fromhex(v["hex"]) if "hex" in v else v["text"].encode("utf-8")


def run_subject(v):
    data = input_bytes(v)
    if v["kind"] == "escape":
        id_ = decoded(v, lambda: unescape(utf8(data, "escaped id")))
        if id_ is not None:
            equal(id_, bytes.fromhex(v["id_hex"]) if "id_hex" in v else v["id"].encode("utf-8"), "id")
        return
    parse = SUBJECT_PARSERS[v["kind"]]
    parts = decoded(v, lambda: parse(utf8(data, "subject")))
    if parts is not None:
        equal(parts, {name: v[name] for name in ("type", "id", "event", "verb") if name in v}, "parts")


def run_command(v):
    data = input_bytes(v)
    if v["kind"] == "fields":
        fields = decoded(v, lambda: decode_body(data))
        if fields is not None:
            equal(shown(fields), v["fields"], "fields")
        return
    equal("expected", v["kind"], "kind")
    expected = decoded(v, lambda: parse_expected(utf8(data, "expected version")))
    if expected is not None:
        equal(expected, v["expected"], "expected")


RUNNERS = {
    "payload.json": run_payload,
    "leaf.json": run_leaf,
    "tree.json": run_tree,
    "commit.json": run_commit,
    "block.json": run_block,
    "chain.json": run_chain,
    "position.json": run_position,
    "export.json": run_export,
    "digest.json": run_digest,
    "subjects.json": run_subject,
    "command.json": run_command,
    "rollback.json": run_rollback,
    "large.json": run_large,
}


def run_vectors(directory):
    """Runs every vector; returns how many held and a line for each that did not."""
    held, failures = 0, []
    for name, run in RUNNERS.items():
        try:
            with open(os.path.join(directory, name), encoding="utf-8") as file:
                vectors = list(json.load(file))
        except (OSError, ValueError, TypeError, RecursionError) as e:
            failures.append(f"{name}: {e}")
            continue
        for i, vector in enumerate(vectors):
            try:
                run(vector)
                held += 1
            except Exception as e:  # a vector of the wrong shape is a failure like any other
                label = short(vector.get("name", vector.get("text", i)) if isinstance(vector, dict) else i)
                failures.append(f"{name}: {label}: {type(e).__name__}: {e}")
    return held, failures


# The command line.


def printable(value):
    return value if value.isprintable() else ascii(value)


def print_export(export, lines):
    count = len(export.commits)
    print(f"aggregate {export.type}/{printable(export.id)}, site {export.site}, log {export.log}")
    print(f"versions  1 to {export.version}, in {count} commit{'' if count == 1 else 's'}")
    for version, event, leaf in lines:
        print(f"leaf      {leaf.hex()}  version {version}, {event}")
    print(f"root      {export.root.hex()}")
    print("confirmed: every payload digest, leaf hash and root follows from the commits")


def read_input(path):
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError, MemoryError) as e:
        raise Unreadable(f"{short(path)}: {e}") from None


def main(args):
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    if len(args) == 2 and args[0] == "--vectors":
        held, failures = run_vectors(args[1])
        print("\n".join(failures) if failures else f"{held} vectors ok")
        return 1 if failures else 0
    if len(args) != 1 or (args[0].startswith("-") and args[0] != "-"):
        print("usage: verify.py EXPORT.json | - | --vectors DIR", file=sys.stderr)
        return 2
    try:
        print_export(*check_export(parse_json(read_input(args[0]))))
        return 0
    except Unreadable as e:
        print(f"error: cannot be read as an export: {e}", file=sys.stderr)
        return 2
    except Refuted as e:
        print(f"refuted: {e}", file=sys.stderr)
        return 7


if __name__ == "__main__":
    try:
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output went away, nobody saw the verdict
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 2
    sys.exit(status)
