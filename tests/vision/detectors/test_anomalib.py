"""Models that anomalib exported: read by their documented names, calibrated, and cautious about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from anomalist.errors import DetectorError
from anomalist.pipeline import Inspector, learn
from anomalist.vision.detectors.anomalib import AnomalibDetector, ExportedModel
from anomalist.vision.profile import load_profile
from tests.pictures import SIDE, holed, tile, write, write_tiles


def write_model(folder: Path, *, size: int | None = None, old: bool = False, sensitive: bool = False) -> Path:
    """A model as anomalib writes it, whose map is how dark a pixel is and whose score is the darkest place.

    ``old`` has one output without a name of its own, ``sensitive`` the inputs of the newest versions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    side: Any = size or "side"
    nodes = [
        helper.make_node("ReduceMean", ["input", "channels"], ["grey"], keepdims=1),
        helper.make_node("Sub", ["one", "grey"], ["output" if old else "anomaly_map"]),
    ]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", 1, side, side])]
    if not old:
        nodes.append(helper.make_node("ReduceMax", ["anomaly_map", "places"], ["pred_score"], keepdims=0))
        outputs = [
            helper.make_tensor_value_info("anomaly_map", TensorProto.FLOAT, ["n", 1, side, side]),
            helper.make_tensor_value_info("pred_score", TensorProto.FLOAT, ["n", 1]),
        ]
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, side, side])]
    if sensitive:
        inputs += [
            helper.make_tensor_value_info(f"{what}_sensitivity", TensorProto.FLOAT, [])
            for what in ("image", "pixel")
        ]
    constants = [
        helper.make_tensor("channels", TensorProto.INT64, [1], [1]),
        helper.make_tensor("places", TensorProto.INT64, [2], [2, 3]),
        helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
    ]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, str(folder / "model.onnx"))
    return folder


def opened(folder: Path) -> AnomalibDetector:
    return AnomalibDetector(ExportedModel.read(folder))


@pytest.mark.parametrize("options", [{}, {"size": 32}, {"old": True}, {"sensitive": True}])
def test_score_and_map_are_read(tmp_path: Path, options: dict[str, Any]) -> None:
    bad, good = opened(write_model(tmp_path / "model", **options)).score([holed(1), tile(2)])
    assert bad.scores[0] > 0.9 > good.scores[0]
    y, x = np.unravel_index(bad.score_map.argmax(), bad.score_map.shape)
    assert abs(y - SIDE // 4) < 8 and abs(x - SIDE // 4) < 8
    assert bad.score_map.shape == (SIDE, SIDE)


def test_the_folder_above_the_weights_will_do(tmp_path: Path) -> None:
    write_model(tmp_path / "weights" / "onnx")
    assert opened(tmp_path).model.form == "onnx"


def test_an_old_transform_beside_the_model_is_applied(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", old=True)
    (plain,) = opened(folder).score([tile(1)])
    (folder / "metadata.json").write_text(json.dumps({"transform": {}, "image_threshold": 0.5}))
    (standard,) = opened(folder).score([tile(1)])
    assert standard.scores[0] > 1.9 * plain.scores[0]  # grey of 0.5 becomes about 0.2 after standardising


def test_what_lies_outside_the_region_of_interest_does_not_count(tmp_path: Path) -> None:
    inside = np.zeros((SIDE, SIDE), bool)
    inside[:, SIDE // 2 :] = True
    detector = opened(write_model(tmp_path / "model"))
    assert detector.score([holed(1)], inside)[0].scores[0] < 0.9 < detector.score([holed(1)])[0].scores[0]


def test_its_scores_are_calibrated_on_all_normals_and_the_record_is_cautious(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    normals = write_tiles(tmp_path / "good", 8)
    profile = learn(
        normals, profile=tmp_path / "profile", detector="anomalib", backbone=str(model), outliers="keep"
    )
    assert profile.calibration.method == "split" and len(profile.calibration.scores) == 8
    assert {normal.use for normal in profile.manifest.normals} == {"calibrate"}
    (model / "model.onnx").unlink()  # the profile has the model in it
    inspector = Inspector(load_profile(profile.path), model="evidence")
    bad = inspector.inspect(write(tmp_path / "bad.png", holed(90)))
    good = inspector.inspect(write(tmp_path / "new.png", tile(91)))
    assert bad.record.label == "anomalous" and good.record.label == "normal"
    assert bad.evidence is not None and len(bad.evidence.regions) == 1
    assert any("learned from the pictures that calibrate it" in note for note in bad.evidence.notes)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no model of anomalib"), (b"no graph", "can't be read")]
)
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(DetectorError, match=message):
        ExportedModel.read(tmp_path)


def test_a_model_of_another_input_is_refused(tmp_path: Path) -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("input", "output")]
    graph = helper.make_graph([helper.make_node("Relu", ["input"], ["output"])], "flat", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(DetectorError, match="can't be opened"):
        opened(tmp_path).score([tile(1)])


def test_openvino_is_asked_for_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.xml").write_text("<net/>")
    (tmp_path / "model.bin").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    with pytest.raises(DetectorError, match=r"anomalist\[openvino\]"):
        opened(tmp_path).score([tile(1)])


def test_openvino_gives_the_same(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    folder = write_model(tmp_path / "onnx")
    openvino.save_model(openvino.convert_model(folder / "model.onnx"), tmp_path / "model.xml")
    (own,), (theirs,) = (opened(place).score([holed(1)]) for place in (tmp_path, folder))
    assert own.scores[0] == pytest.approx(theirs.scores[0], abs=1e-2)
