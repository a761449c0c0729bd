"""Pictures of an inspection as a page shows them: the picture, its anomaly map, a region, what is normal."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from anomalist.errors import AnomalistError
from anomalist.report.figures import heat_ranges, load_map, load_source_image
from anomalist.server.inspecting import LoadedProfiles
from anomalist.server.problems import NotFoundError
from anomalist.server.store import Inspected
from anomalist.storage.artifacts import profile_path
from anomalist.storage.places import here
from anomalist.types.common import UInt8Array
from anomalist.types.image import Region
from anomalist.vision.drawing import display_size, encode_jpeg, heatmap, thumbnail
from anomalist.vision.media.images import load_image
from anomalist.vision.regions import crop_window

QUALITY = 88
"""Of pictures that are shown as JPEG."""
MAX_SIDE = 1200
"""Longer side of a picture that is shown, pixels; small ones are not enlarged."""


def picture_jpeg(inspected: Inspected, runs: Path, side: int = MAX_SIDE) -> bytes:
    """The picture, as JPEG. Raises DataError or MediaError where it is gone or has changed."""
    pixels = load_source_image(inspected.record, runs / inspected.run)
    return _jpeg(thumbnail(pixels, max_side=min(side, max(pixels.shape[:2]))))


def heat_png(inspected: Inspected, runs: Path, side: int = MAX_SIDE) -> bytes:
    """The anomaly map, as PNG that is the clearer the less there is; NotFoundError where there is none."""
    from PIL import Image

    record, folder = inspected.record, runs / inspected.run
    values = load_map(record, folder)
    if values is None:
        raise NotFoundError("There is no anomaly map of this picture.")
    (low, high) = heat_ranges([record], folder).get(record.detector.digest if record.detector else "", (0, 1))
    side = min(side, max(values.shape))
    colours = heatmap(None, values, low, high, max_side=side)
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    height, width = display_size(values.shape, side)
    opacity = Image.fromarray((np.sqrt(share) * 255).astype(np.uint8)).resize((width, height))
    picture = Image.fromarray(colours).resize((width, height))
    picture.putalpha(opacity)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def region_jpeg(inspected: Inspected, runs: Path, region: str) -> bytes:
    """A region with its surroundings, as JPEG."""
    found = find_region(inspected, region)
    pixels = load_source_image(inspected.record, runs / inspected.run)
    left, top, right, bottom = crop_window(found.box, (pixels.shape[0], pixels.shape[1]))
    return _jpeg(pixels[top:bottom, left:right])


def normal_jpeg(inspected: Inspected, loaded: LoadedProfiles, region: str) -> bytes:
    """What is normal at the place of a region, as JPEG; NotFoundError where nothing is known."""
    found, record = find_region(inspected, region), inspected.record
    normal = None
    try:
        if (inspector := loaded.of_record(record)) is not None:
            crop = inspector.evidence_source.normal_crop
            media = load_image(record.source)
            normal = None if crop is None or media.sha256 != record.sha256 else crop(media, found)
    except AnomalistError as error:
        raise NotFoundError(f"There is nothing normal to compare with: {error}") from error
    if normal is None:
        raise NotFoundError("There is nothing normal to compare with.")
    return _jpeg(normal)


def find_region(inspected: Inspected, id: str) -> Region:
    """A region of a picture by its id. Raises NotFoundError."""
    for region in inspected.record.regions:
        if region.id == id:
            return region
    raise NotFoundError(f"There is no region {id[:12]}.")


def scene_jpeg(scene: str) -> bytes:
    """A frame of the footage of a scene, as JPEG. Raises NotFoundError where it is gone."""
    from anomalist.vision.media.video import frame_at, open_video
    from anomalist.vision.motion.scene import SCENE_KIND

    for footage in SCENE_KIND.read_manifest(profile_path(scene)).footage:
        if here(Path(footage.source)).exists():
            return _jpeg(frame_at(open_video(footage.source), footage.seconds / 2).pixels)
    raise NotFoundError("The footage that the scene was learned from is gone.")


def _jpeg(pixels: UInt8Array) -> bytes:
    return encode_jpeg(pixels, QUALITY)
