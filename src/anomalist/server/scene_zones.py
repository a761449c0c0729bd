"""Zones that people drew on the picture of a scene."""

from __future__ import annotations

import json
import time

from anomalist.server.database import Database, ZonesRow
from anomalist.vision.motion.scene import Zone


def drawn_zones(database: Database, scene: str) -> tuple[Zone, ...] | None:
    """The zones that people drew on a scene; None where nobody did."""
    with database.session() as session:
        row = session.get(ZonesRow, scene)
        return None if row is None else tuple(Zone(**zone) for zone in json.loads(row.zones))


def draw_zones(database: Database, scene: str, zones: tuple[Zone, ...], owner: str) -> str:
    """Keep the zones of a scene, in place of those before; returns them as JSON."""
    text = json.dumps([zone.model_dump() for zone in zones])
    with database.session() as session:
        session.merge(ZonesRow(scene=scene, zones=text, owner=owner, time=time.time()))
        session.commit()
    return text
