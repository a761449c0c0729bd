"""Archives of what an earlier version left on a disk, small enough to keep.

A profile holds the network that the package ships, 4 MB of it, unchanged unless it was trained further.
Archives leave those tensors out, and take them from the package when they are unpacked, wherever they lie in
it. A version that ships other weights keeps the old file in this folder.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import anomalist

HERE = Path(__file__).resolve().parent
NETWORK = "network."
_BARE = ".bare"
_TIME = (2026, 1, 1, 0, 0, 0)
_Tensors = list[tuple[str, int, int]]  # name, begin, end; in the order in which they lie in the file


def pack(folders: Sequence[Path], without: tuple[str, ...] = ()) -> bytes:
    """Files of folders as a zip, by relative names; ``without`` those of some suffixes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        for path in sorted(each for folder in folders for each in folder.rglob("*") if each.is_file()):
            name, content = path.as_posix(), path.read_bytes()
            if path.suffix in without:
                continue
            if path.name == "detector.safetensors":
                name, content = name + _BARE, _bare(content)
            archive.writestr(zipfile.ZipInfo(name, _TIME), content, zipfile.ZIP_LZMA)
    return buffer.getvalue()


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of an archive into a folder, just as they were packed."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    for bare in sorted(folder.rglob(f"*{_BARE}")):
        bare.with_suffix("").write_bytes(_whole(bare.read_bytes()))
        bare.unlink()


def _bare(content: bytes) -> bytes:
    """A safetensors file without the data of its network; the header stays as it is."""
    tensors, data = _tensors(content)
    kept = [content[data + begin : data + end] for name, begin, end in tensors if not _shipped(name)]
    return content[:data] + b"".join(kept)


def _whole(content: bytes) -> bytes:
    """The file again, with the data of the network that ships."""
    tensors, at = _tensors(content)
    network = _network({name.removeprefix(NETWORK): e - b for name, b, e in tensors if _shipped(name)})
    parts = [content[:at]]
    for name, begin, end in tensors:
        if _shipped(name):
            parts.append(network[name.removeprefix(NETWORK)])
        else:
            parts.append(content[at : at + end - begin])
            at += end - begin
    return b"".join(parts)


def _shipped(name: str) -> bool:
    return name.startswith(NETWORK)


def _tensors(content: bytes) -> tuple[_Tensors, int]:
    """Where the tensors of a safetensors file lie in its data, and where the data begin."""
    data = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:data])
    spans = [(name, *entry["data_offsets"]) for name, entry in header.items() if name != "__metadata__"]
    return sorted(spans, key=lambda span: span[1:]), data


def _network(sizes: dict[str, int]) -> dict[str, bytes]:
    """Data of the tensors of these names and sizes: of the first file that has just them."""
    for path in _weights():
        content = path.read_bytes()
        tensors, data = _tensors(content)
        if {name: end - begin for name, begin, end in tensors} == sizes:
            return {name: content[data + begin : data + end] for name, begin, end in tensors}
    raise FileNotFoundError(
        f"No weights of the network that 0.1.0 shipped: keep surfacenet-2.safetensors in {HERE}."
    )


def _weights() -> Iterator[Path]:
    yield from sorted(HERE.glob("*.safetensors"))
    yield from sorted(Path(anomalist.__file__).parent.rglob("*.safetensors"))
