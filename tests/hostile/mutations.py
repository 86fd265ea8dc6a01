"""Sound files made wrong: in their bytes, in the values of their JSON, in the members of their archives."""

import ast
import copy
import gzip
import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
TOKENS = (
    *(b"0", b"-1", b"1e999", b"nan", b"-inf", b"9" * 30, b"1_0", b"0x10", b".", b"?", b"true", b"null", b"NaN"),
    *(b",", b":", b";", b"\n", b"\r", b"\r\n", b'"', b"'", b"\\", b"#", b"@", b"{", b"}", b"[", b"]", b"(", b")"),
    *(b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xc3(", b"\xed\xa0\x80", "\u0661".encode(), b"\x1f\x8b", b"PK"),
    *(b"@data\n", b"@missing true\n", b"@classLabel true a\n", b"@dimensions 9\n", b"label", b"|O", b"<f8", b"../x"),
)
STRANGE = (
    *(None, True, False, 0, -1, 1.5, 10**30, -(2**63), float("nan"), float("inf"), "", "\0", "../../x", "/", "\ud800"),
    *([], {}, [[]], [None], {"": None}, ["a"] * 50, "x" * 5000),
)
MANY = 100_000
NPY_START = 10  # bytes of an .npy file before its header: magic, version, the header's length
NUMBERS = ("<f8", ">f8", "<f4", "<f2", "<i8", ">i4", "|u1", "|b1", "<c16")
OTHERS = ("<U2", "|S8", "|O", "<M8[s]", "|V8", "|V0", [("a", "<f8")])
SHAPES = ((20, 3), (60,), (3, 20), (5, 4, 3), (20, 0), (0,), (), (-20, -3), (2**62, 4), (20.0, 3), [20, 3], None)
HEADERS = {"descr": NUMBERS + OTHERS, "fortran_order": (True, False, 1, None), "shape": SHAPES}


def _place(data: Sequence[Any], random: Random) -> int:
    return random.randrange(len(data) + 1)


def _span(data: bytearray, random: Random) -> slice:
    start = _place(data, random)
    return slice(start, start + random.choice((1, 1, 2, 4, 8, 32, 256)))


def _flip(data: bytearray, random: Random) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _number(data: bytearray, random: Random) -> None:
    size, start = random.choice((1, 2, 4, 8)), _place(data, random)
    word = random.choice(EDGES) % 256**size
    data[start : start + size] = word.to_bytes(size, random.choice(("little", "big")))


def _delete(data: bytearray, random: Random) -> None:
    del data[_span(data, random)]


def _repeat(data: bytearray, random: Random) -> None:
    place = _place(data, random)
    data[place:place] = data[_span(data, random)] * random.choice((1, 2, 50))


def _insert(data: bytearray, random: Random) -> None:
    place = _place(data, random)
    data[place:place] = random.choice(TOKENS)


def _replace(data: bytearray, random: Random) -> None:
    data[_span(data, random)] = random.choice(TOKENS)


def _truncate(data: bytearray, random: Random) -> None:
    del data[_place(data, random) :]


# half of them keep the length, without which most files are refused at once
EDITS = (_flip, _flip, _flip, _number, _number, _number, _delete, _repeat, _insert, _replace, _truncate)


def _some(random: Random) -> int:
    return random.choice((1, 1, 1, 2, 4, 8))


def edited(content: bytes, random: Random) -> bytes:
    """One to eight edits of the bytes."""
    data = bytearray(content)
    for _ in range(_some(random)):
        random.choice(EDITS)(data, random)
    return bytes(data)


def edited_part(content: bytes, part: slice, random: Random) -> bytes:
    """Edits of a part of the bytes alone."""
    start, stop, _ = part.indices(len(content))
    return content[:start] + edited(content[start:stop], random) + content[stop:]


def edited_npy(content: bytes, random: Random) -> bytes:
    """Edits of an `.npy` file: of all, of its numbers, or another header before the numbers."""
    size = NPY_START + int.from_bytes(content[8:NPY_START], "little")
    match random.randrange(4):
        case 0:
            return edited(content, random)
        case 1:
            return edited_part(content, slice(size, None), random)
        case 2:
            return edited_part(content, slice(NPY_START, size), random)
    header = content[NPY_START:size].decode()
    described = ast.literal_eval(header)
    for _ in range(_some(random)):
        name = random.choice(list(described))
        described[name] = random.choice(HEADERS[name])
    said = (repr(described).ljust(len(header) - 1) + "\n").encode()
    return content[:8] + len(said).to_bytes(2, "little") + said + content[size:]


def edited_idx(content: bytes, random: Random) -> bytes:
    """The gzip file of edits of an IDX file, half of them in its header; now and then edited itself."""
    part = slice(None, 16) if random.random() < 0.5 else slice(None)
    packed = gzip.compress(edited_part(content, part, random), 1, mtime=0)
    return edited(packed, random) if random.random() < 0.1 else packed


def edited_mat(head: bytes, matrices: Sequence[bytes], random: Random) -> bytes:
    """A `.mat` file with one of its elements edited, each compressed or not, or edited itself."""
    chosen, packs, parts = random.randrange(len(matrices)), random.random() < 0.7, [head]
    for number, matrix in enumerate(matrices):
        content = edited(matrix, random) if number == chosen else matrix
        packed = zlib.compress(content, 1)
        parts += [struct.pack("<II", 15, len(packed)), packed] if packs else [content]
    content = b"".join(parts)
    return edited(content, random) if random.random() < 0.3 else content


def edited_value(value: Any, random: Random) -> Any:
    """A JSON value with one to eight places in it taken away, doubled, or put to something else."""
    held = [copy.deepcopy(value)]
    for _ in range(_some(random)):
        parent, key = random.choice(_places(held))
        match random.randrange(6):
            case 0 if parent is not held:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[random.choice([*parent, "new"])] = parent[key]
            case 2 if isinstance(parent[key], int | float):
                parent[key] = random.choice(
                    (-parent[key], parent[key] * 10**9, 10**400, str(parent[key]), [parent[key]])
                )
            case 3 if isinstance(parent, list) and parent is not held:
                parent.insert(key, copy.deepcopy(parent[key]))
            case _:
                parent[key] = copy.deepcopy(random.choice(STRANGE))
    return held[0]


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container below a value with each of its keys."""
    found = []
    for key in value if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += _places(value[key])
    return found


def edited_json(value: Any, random: Random) -> bytes:
    """JSON of such a value, and now and then not even that, or nested without end."""
    if random.random() < 0.001:
        return random.choice((b"[", b'{"a":', b"[{}," * 2)) * MANY
    content = json.dumps(edited_value(value, random)).encode()
    return edited(content, random) if random.random() < 0.3 else content


def edited_lines(values: Sequence[Any], random: Random) -> bytes:
    """Lines of JSON, some of them such values."""
    lines = [edited_json(value, random) if random.random() < 0.5 else json.dumps(value).encode() for value in values]
    content = b"\n".join(lines) + b"\n"
    return edited(content, random) if random.random() < 0.2 else content


def edited_npz(members: Mapping[str, bytes], random: Random) -> bytes:
    """An archive with one of its `.npy` files edited, the sums right; now and then edited itself."""
    chosen, file = random.choice(list(members)), io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for key, content in members.items():
            name = key
            if key == chosen and random.random() < 0.1:
                name = edited(name.encode(), random).decode(errors="replace").replace("\0", "") or "empty"
            with warnings.catch_warnings():
                # an edited name can be another member's: twice the same name is one of the inputs
                warnings.filterwarnings("ignore", "Duplicate name")
                archive.writestr(name, edited_npy(content, random) if key == chosen else content)
    return edited(file.getvalue(), random) if random.random() < 0.4 else file.getvalue()
