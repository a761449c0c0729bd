"""Time AUPRO and AUPIMO on many generated maps: seconds of the clock and of the processor, and both values.

python scripts/bench_measures.py
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator

import numpy as np

from anomalist.eval.pixel_metrics import aupimo, aupro
from anomalist.types.common import BoolArray, FloatArray


def maps_and_masks(count: int, side: int, seed: int) -> Iterator[tuple[FloatArray, BoolArray]]:
    """Smooth maps with continuous scores; every second one has a round defect that is partly found."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    for number in range(count):
        coarse = rng.gamma(2.0, 1.0, (side // 16, side // 16))
        score_map = np.kron(coarse, np.ones((16, 16))) + rng.normal(0, 0.3, (side, side))
        mask = np.zeros((side, side), np.bool_)
        if number % 2:
            row, column = rng.integers(side // 8, side - side // 8, 2)
            mask = (y - row) ** 2 + (x - column) ** 2 < (side * rng.uniform(0.02, 0.1)) ** 2
            score_map += 8 * rng.uniform(0.5, 1.5) * mask
        yield score_map.astype(np.float32), mask


def main() -> None:
    """Print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=400, help="maps, half of them with a defect")
    parser.add_argument("--side", type=int, default=512, help="of a map, pixels")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    pairs = list(maps_and_masks(asked.count, asked.side, asked.seed))
    maps, masks = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    start, used = time.perf_counter(), time.process_time()
    overlap = aupro(maps, masks)
    middle, middle_used = time.perf_counter(), time.process_time()
    areas = aupimo(maps, masks)
    print(
        json.dumps(
            {
                "maps": asked.count,
                "side": asked.side,
                "aupro": overlap,
                "aupimo": None if areas is None else float(areas.mean()),
                "aupro_seconds": round(middle - start, 2),
                "aupimo_seconds": round(time.perf_counter() - middle, 2),
                "aupro_processor_seconds": round(middle_used - used, 2),
                "aupimo_processor_seconds": round(time.process_time() - middle_used, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
