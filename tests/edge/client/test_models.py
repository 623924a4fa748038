"""The committed head is what its generator makes, is light, and is a sound GLB with all 52 shapes."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest

from core.avatar.rig import BLENDSHAPES
from edge.client.models import pip
from edge.client.models.glb import GlbWriter
from edge.client.models.surfaces import Piece, grid, without

_SIZE_BYTES_MAX = 100_000
_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2}
_PARTS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


def _read(data: bytes) -> tuple[dict[str, Any], bytes]:
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[28 + size :]


@pytest.mark.parametrize("name", ["glb", "vrm"])
def test_the_committed_file_is_what_the_generator_makes(name: str) -> None:
    committed = (pip.FOLDER / f"pip.{name}").read_bytes()
    assert committed == getattr(pip, name)()
    assert len(committed) < _SIZE_BYTES_MAX


def test_all_52_shapes_are_there_and_each_moves_something() -> None:
    description, binary = _read(pip.glb())
    found: dict[str, int] = {}
    for mesh in description["meshes"]:
        for primitive in mesh["primitives"]:
            for name, target in zip(
                mesh.get("extras", {}).get("targetNames", []), primitive.get("targets", []), strict=True
            ):
                sparse = description["accessors"][target["POSITION"]]["sparse"]
                view = description["bufferViews"][sparse["values"]["bufferView"]]
                at = view["byteOffset"] + sparse["values"]["byteOffset"]
                moves = np.frombuffer(binary, np.int8, sparse["count"] * 3, at)
                found[name] = max(found.get(name, 0), int(np.abs(moves.astype(int)).max()))
    assert set(found) == set(BLENDSHAPES)
    # 127 is the whole of a mesh's cube: less than that many steps would not be seen.
    assert not {name: steps for name, steps in found.items() if steps < 3}


@pytest.mark.parametrize("data", [pip.glb(), pip.vrm()], ids=["glb", "vrm"])
def test_arrays_lie_within_the_file_and_point_at_vertices_that_exist(data: bytes) -> None:
    description, binary = _read(data)
    assert description["buffers"][0]["byteLength"] <= len(binary)
    for accessor in description["accessors"]:
        size = _BYTES[accessor["componentType"]] * _PARTS[accessor["type"]]
        if "bufferView" in accessor:
            view = description["bufferViews"][accessor["bufferView"]]
            stride = view.get("byteStride", size)
            assert view["byteLength"] >= stride * (accessor["count"] - 1) + size
            assert view["byteOffset"] + view["byteLength"] <= len(binary)
            assert stride % 4 == 0 or "byteStride" not in view
    for mesh in description["meshes"]:
        for primitive in mesh["primitives"]:
            count = description["accessors"][primitive["attributes"]["POSITION"]]["count"]
            index = description["accessors"][primitive["indices"]]
            at = description["bufferViews"][index["bufferView"]]["byteOffset"]
            kind = np.uint8 if index["componentType"] == 5121 else np.uint16
            indices = np.frombuffer(binary, kind, index["count"], at)
            assert int(indices.max()) == count - 1
            assert not any(
                description["accessors"][t["POSITION"]]["count"] != count for t in primitive.get("targets", [])
            )


def test_the_vrm_has_the_bones_and_expressions_that_it_names() -> None:
    description, _ = _read(pip.vrm())
    extension = description["extensions"]["VRMC_vrm"]
    bones = extension["humanoid"]["humanBones"]
    assert {"hips", "spine", "head", "leftUpperArm", "leftHand", "rightFoot", "leftEye", "rightEye"} <= set(bones)
    assert len({bone["node"] for bone in bones.values()}) == len(bones)
    assert set(extension["expressions"]["preset"]) == {
        "aa", "ih", "ou", "ee", "oh", "blinkLeft", "blinkRight", "happy",
    }  # fmt: skip
    assert all(expression["morphTargetBinds"] for expression in extension["expressions"]["preset"].values())


def test_normals_of_a_surface_without_area_face_the_viewer() -> None:
    flat = np.array([[0.0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]])
    writer = GlbWriter({"skin": {}})
    root = writer.node("root")
    writer.mesh("line", root, [Piece(lambda _: flat, grid(2, 2), np.ones((4, 3)), "skin")], {})
    description, binary = _read(writer.write([root], "nobody"))
    accessor = description["accessors"][description["meshes"][0]["primitives"][0]["attributes"]["NORMAL"]]
    at = description["bufferViews"][accessor["bufferView"]]["byteOffset"]
    assert np.frombuffer(binary, np.int8, 16, at).reshape(4, 4)[:, :3].tolist() == [[0, 0, 127]] * 4


def test_a_piece_without_what_is_hidden_keeps_the_rest_in_place() -> None:
    points = np.stack([*np.meshgrid(np.arange(4.0), np.arange(3.0)), np.zeros((3, 4))], -1).reshape(-1, 3)
    piece = Piece(lambda w: points + w.get("x", 0.0), grid(3, 4), points, "skin")
    seen = without(piece, points[:, 0] < 2)
    assert seen.shape({}).min(axis=0)[0] == 1.0
    assert np.array_equal(seen.shape({"x": 1.0}), seen.shape({}) + 1.0)
    assert np.array_equal(seen.colours, seen.shape({}))
    assert len(seen.triangles) == 8
