"""Files that come with requests, and paths that requests name.

Uploads are kept by content: the same bytes lie once, in a folder named after their hash, under a name that
was made safe. A path must lie in one of the allowed folders, links followed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from anomalist.server.config import ServerConfig
from anomalist.server.problems import ForbiddenError, NotFoundError, RequestError, UnavailableError
from anomalist.storage.files import is_full, staged_file, staged_folder
from anomalist.vision.media.images import IMAGE_SUFFIXES
from anomalist.vision.media.sources import VIDEO_SUFFIXES

_PIECE = 1024 * 1024
_MOST_BYTES = 170  # of a stem: a suffix, and a hash before it, must have room in 255


class Uploads:
    """Keeps what is uploaded.

    Parameters
    ----------
    folder : where files are kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep_picture(self, name: str | None, file: BinaryIO) -> Path:
        """Keep a picture. Raises RequestError for a file that isn't named like one, or is empty."""
        return self._keep(name, file, IMAGE_SUFFIXES, "picture")

    def keep_video(self, name: str | None, file: BinaryIO) -> Path:
        """Keep a clip. Raises RequestError for a file that isn't named like one, or is empty."""
        return self._keep(name, file, VIDEO_SUFFIXES, "video")

    def keep_products(self, files: Sequence[tuple[str, BinaryIO]]) -> Path:
        """Keep pictures of several products, each named ``…/product/picture.png``.

        Returns a folder with a folder for each product, named after its content: the same pictures again are
        the same folder. Raises RequestError as `keep_picture` does, for a picture of no product, and for
        two products of one name.
        """
        folders = [_folder_of(name) for name, _ in files]
        products = _product_names(folders)
        if len(products) < 2:
            raise RequestError(
                "These are pictures of one product.", "Learn it by itself: POST /v1/jobs/learn"
            )
        kept: dict[tuple[str, str], Path] = {}
        for folder, (name, file) in zip(folders, files, strict=True):
            picture = self.keep_picture(name, file)
            kept[products[folder], f"{picture.parent.name[:12]}-{picture.name}"] = picture
        digest = hashlib.sha256("\n".join(sorted("/".join(each) for each in kept)).encode()).hexdigest()
        target = self.folder / "products" / digest[:32]
        if not target.is_dir():
            with _writing("The products"), staged_folder(target) as staged:
                for (product, name), picture in kept.items():
                    (staged / product).mkdir(exist_ok=True)
                    try:
                        (staged / product / name).hardlink_to(picture)
                    except OSError:  # a file system without such links
                        shutil.copyfile(picture, staged / product / name)
        return target

    def _keep(self, name: str | None, file: BinaryIO, suffixes: frozenset[str], what: str) -> Path:
        safe = safe_name(name or "")
        if Path(safe).suffix.lower() not in suffixes:
            raise RequestError(
                f"{safe} is not named like a {what}.", f"Names end in {', '.join(sorted(suffixes))}."
            )
        digest, size = hashlib.sha256(), 0
        file.seek(0)
        while piece := file.read(_PIECE):
            digest.update(piece)
            size += len(piece)
        if not size:
            raise RequestError(f"{safe} is empty.")
        sha256 = digest.hexdigest()
        target = self.folder / sha256[:2] / sha256[:32] / safe
        if not target.is_file():
            file.seek(0)
            with _writing(safe):
                target.parent.mkdir(parents=True, exist_ok=True)
                with staged_file(target) as staged, staged.open("wb") as out:
                    shutil.copyfileobj(file, out, _PIECE)
        return target


def _folder_of(name: str) -> tuple[str, ...]:
    """The folders that a picture of a product is named with, the product's own last."""
    parts = [part for part in re.split(r"[\\/]", unicodedata.normalize("NFC", name)) if part.strip(" .")]
    if len(parts) < 2:
        raise RequestError(
            f"{safe_name(name)} belongs to no product.", "Upload a folder with a folder for each product."
        )
    return tuple(parts[:-1])


def _product_names(folders: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    """The name of each product: that of its folder, behind those of as many above it as tell all apart.

    Raises RequestError where none do, on a file system that doesn't tell upper from lower case either.
    """
    several = sorted(set(folders))
    twins: list[str] = []
    for depth in range(1, max(map(len, several)) + 1):
        names = {folder: safe_name("-".join(folder[-depth:])) for folder in several}
        times = Counter(name.casefold() for name in names.values())
        twins = [name for name in names.values() if times[name.casefold()] > 1]
        if not twins:
            return names
    raise RequestError(
        f"Two products would have the name {twins[0]}.",
        "Rename the folder of one: products are named after it.",
    )


@contextmanager
def _writing(what: str) -> Iterator[None]:
    """Raise UnavailableError where what is uploaded can't be written."""
    try:
        yield
    except OSError as error:
        raise not_kept(what, error) from error


def not_kept(what: str, error: OSError) -> UnavailableError:
    """Say in words that what is uploaded can't be written."""
    mended = "make room" if is_full(error) else "see that its folder can be written"
    return UnavailableError(
        f"{what} can't be kept: {error.strerror or error}.", f"Whoever runs the server has to {mended}."
    )


def safe_name(name: str) -> str:
    """The last part of a name, with nothing in it that a path or a page could trip over.

    At most 116 characters, and no more bytes than file systems take. Marks belong to the letters of many
    scripts, and stay.
    """
    last = unicodedata.normalize("NFC", re.split(r"[\\/]", name)[-1])
    kept = (c if re.match(r"[\w .+@()-]", c) or unicodedata.category(c)[0] == "M" else "_" for c in last)
    tidy = "".join(kept).strip(" .")
    stem, suffix = Path(tidy).stem[:100], Path(tidy).suffix[:16]
    stem = stem.encode()[:_MOST_BYTES].decode(errors="ignore")
    return f"{stem}{suffix}" or "unnamed"


def allowed_path(text: str, config: ServerConfig, own: Sequence[Path] = ()) -> Path:
    """A path that a request names, resolved.

    Parameters
    ----------
    own : folders of the server itself that may be named as well.

    Raises
    ------
    ForbiddenError : it lies in none of the allowed folders. Whether it exists is not said.
    NotFoundError : there is nothing.
    """
    try:
        path = Path(text).resolve()
        roots = [root.resolve() for root in (*config.roots, *own)]
    except (OSError, ValueError, RuntimeError):
        raise ForbiddenError("That path can't be used.") from None
    if not Path(text).is_absolute() or not any(path.is_relative_to(root) for root in roots):
        raise ForbiddenError(
            "That path is in none of the allowed folders.",
            "Name a whole path in a folder that the server was started with (--root), or upload the files.",
        )
    try:
        there = path.exists()
    except OSError:
        there = False
    if not there:
        raise NotFoundError(f"There is no {path.name}.")
    return path
