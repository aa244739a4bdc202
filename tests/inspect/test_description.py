"""What is said of a file, with its folder and without."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from support.onnx_functions import initializers

from beamgen import (
    BeamgenError,
    Generator,
    Package,
    describe,
    export,
    open_package,
    package_as,
    stamp_parity,
)
from beamgen.cli import main
from beamgen.settings.table import PARAMETERS


@pytest.fixture(scope="module")
def proved(checkpoints: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Package:
    """With slots, and a verdict in the file."""
    folder = tmp_path_factory.mktemp("described") / "gpt2"
    settings = {"max_new_tokens": 5, "num_beams": 3}
    return export(checkpoints("gpt2"), folder, settings=settings, lora_slots=["c_attn"]).package


def test_inputs_with_meanings_and_defaults(proved: Package) -> None:
    found = describe(proved.folder)
    ports = {port.name: port for port in found.inputs}
    assert list(ports) == ["input_ids", "attention_mask", *(p.name for p in PARAMETERS)]
    assert [name for name, port in ports.items() if port.required] == [
        "input_ids",
        "attention_mask",
    ]
    assert ports["max_new_tokens"].default == [5]
    assert ports["num_beams"].default == [3]
    assert ports["temperature"].dtype == "float32"
    assert all(port.meaning for port in [*found.inputs, *found.outputs])
    assert ports["input_ids"].shape == ["batch", "prompt_len"]
    assert found.lora_slots == len(proved.manifest.lora_slots) == 2


@pytest.mark.transformers_4
def test_an_encoder_is_told_of(packages: Callable[[str], Package]) -> None:
    shown = CliRunner().invoke(main, ["inspect", "-m", str(packages("t5").folder), "--no-load"])
    told = "encoder: sources of any length; the decoder begins with token 0"
    assert told in shown.output, shown.output
    found = describe(packages("t5").folder, providers=False)
    ports = {port.name: port for port in found.inputs}
    assert ports["input_ids"].shape == ["batch", "source_len"]
    assert ports["decoder_input_ids"].default == [[0]]
    assert not ports["decoder_input_ids"].required


def test_counts_are_those_of_the_graph(proved: Package) -> None:
    found = describe(proved.folder, providers=False)
    model = onnx.load(proved.model)
    assert {f.name for f in found.functions} == {f"{f.domain}::{f.name}" for f in model.functions}
    assert set(found.operators) == {"ai.onnx", "beamgen"}
    # of chunks, of steps, in attention, and two through texts in which stop strings are looked for
    assert found.operators["ai.onnx"]["Loop"] == 5
    # two layers; the body of their one function has an Attention for few queries, one for more
    # that are taken at once, and one for parts of many
    assert found.operators["beamgen"]["SharedPromptAttention"] == 2
    assert found.operators["ai.onnx"]["Attention"] == 3
    weights = sum(onnx.numpy_helper.to_array(t).nbytes for t in initializers(model))
    assert weights <= sum(found.weights.values()) <= weights + 20_000  # small constants besides
    assert found.bytes == proved.model.stat().st_size
    assert found.providers == []
    assert found.runtime is None


def test_the_cpu_runs_all(proved: Package) -> None:
    by_name = {provider.name: provider for provider in describe(proved.folder).providers}
    assert set(by_name) == set(onnxruntime.get_available_providers())
    cpu = by_name["CPUExecutionProvider"]
    assert cpu.loads
    assert cpu.nodes == cpu.all_nodes
    assert cpu.nodes is not None
    assert cpu.nodes > 100


def test_a_provider_that_fails_says_why(
    proved: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = onnx.load(proved.model, load_external_data=False)
    next(node for node in model.graph.node if node.op_type == "Loop").op_type = "Lop"
    onnx.save(model, tmp_path / "bad.onnx")
    for provider in describe(tmp_path / "bad.onnx").providers:
        assert not provider.loads
        assert "Lop" in (provider.reason or "")


def test_a_file_that_left_its_folder_still_knows(proved: Package, tmp_path: Path) -> None:
    alone = tmp_path / "alone.onnx"
    shutil.copyfile(proved.model, alone)
    found = describe(alone, providers=False)
    about = found.provenance
    assert about is not None
    assert about["adapter"] == "gpt2"
    assert about["backend"] == "loop"
    assert about["source"]["kind"] == "folder"
    assert about["source"]["model"] == Path(proved.manifest.source["model"]).name
    assert about["search"] == proved.manifest.search.to_json()
    assert about["versions"]["transformers"] == proved.manifest.versions["transformers"]
    assert found.parity == proved.manifest.parity
    assert found.parity is not None
    assert found.parity["verdict"] == "exact"
    assert found.loras == []
    assert str(proved.folder.parent) not in alone.read_bytes().decode("latin-1")


def test_the_sealed_file_is_the_manifests_and_runs(proved: Package) -> None:
    package = open_package(proved.folder)  # compares hashes
    ids = np.array([[5, 6, 7]])
    found = Generator(package).generate([ids[0].tolist()])
    assert len(found[0][0].token_ids) <= 5
    stored = onnx.load(package.model).metadata_props
    assert [entry.key for entry in stored] == ["beamgen.manifest", "beamgen.parity"]


def test_a_later_verdict_is_the_packages(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    """The file keeps that of its export; the folder has the last one."""
    package = export(checkpoints("gpt2"), tmp_path / "p", parity=False).package
    assert describe(package.folder, providers=False).parity is None
    stamp_parity(package, {"verdict": "near-tie"})
    found = describe(package.folder, providers=False)
    assert found.parity is not None
    assert found.parity["verdict"] == "near-tie"
    alone = tmp_path / "alone.onnx"
    shutil.copyfile(package.model, alone)
    assert describe(alone, providers=False).parity is None


def test_a_changed_package_is_said(proved: Package, tmp_path: Path) -> None:
    copy = shutil.copytree(proved.folder, tmp_path / "copy")
    (copy / "config.json").write_text("{}")
    found = describe(copy, providers=False)
    assert found.changed is not None
    assert "config.json" in found.changed
    assert found.parity is not None
    (copy / "beamgen.json").write_text("{")
    found = describe(copy, providers=False)
    assert "damaged" in (found.changed or "")
    assert found.provenance is not None


def test_a_foreign_file(tmp_path: Path) -> None:
    helper = onnx.helper
    big = onnx.numpy_helper.from_array(np.zeros((10, 10), np.float32), "x")
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [10, None])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [big],
    )
    onnx.save(helper.make_model(graph, producer_name="someone"), tmp_path / "f.onnx")
    found = describe(tmp_path / "f.onnx", providers=False)
    assert found.provenance is None
    assert found.parity is None
    assert found.producer == "someone"
    assert found.inputs[0].default == "10 x 10 values"
    assert found.inputs[0].shape == [10, None]
    assert found.operators == {"ai.onnx": {"Relu": 1}}
    result = CliRunner().invoke(main, ["inspect", "-m", str(tmp_path / "f.onnx"), "--no-load"])
    assert result.exit_code == 0, result.output
    assert "not written by beamgen; producer: someone" in result.output


def test_a_contrib_file(contrib: Callable[..., Package]) -> None:
    found = describe(contrib("gpt2").folder, providers=False)
    assert found.operators["com.microsoft"] == {"BeamSearch": 1}
    assert found.operators["beamgen"]["op_inputs"] == 1  # inside the operator's subgraph
    assert all(port.meaning for port in [*found.inputs, *found.outputs])


def test_external_data_is_counted_and_missed(proved: Package, tmp_path: Path) -> None:
    model = onnx.load(proved.model)
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0
    )
    found = describe(tmp_path / "m.onnx", providers=False)
    data = (tmp_path / "m.data").stat().st_size
    assert found.external_data == {"m.data": data}
    assert found.bytes == data + (tmp_path / "m.onnx").stat().st_size
    (tmp_path / "m.data").unlink()
    assert describe(tmp_path / "m.onnx", providers=False).external_data == {"m.data": None}


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08"])
def test_what_is_no_model_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(BeamgenError, match="is no ONNX model"):
        describe(tmp_path / "x.onnx")
    with pytest.raises(BeamgenError, match=r"there is no .*nothing"):
        describe(tmp_path / "nothing")


@pytest.mark.parametrize("entry", [0, 1])
@pytest.mark.parametrize("value", ["{", "{}", "[]", "5", '{"source": 5}', "[" * 100_000])
def test_damaged_metadata_is_refused(
    value: str, entry: int, proved: Package, tmp_path: Path
) -> None:
    model = onnx.load(proved.model)
    model.metadata_props[entry].value = value
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(BeamgenError, match="damaged metadata"):
        describe(tmp_path / "x.onnx")


def test_the_command(proved: Package) -> None:
    result = CliRunner().invoke(main, ["inspect", "-m", str(proved.folder), "--functions"])
    assert result.exit_code == 0, result.output
    for text in (
        "parity:  exact in 12 cases",
        "input_ids",
        "[batch, prompt_len]",
        "4 inputs of 2 LoRA slots",
        "beamgen::update_finished_beams",
        "CPUExecutionProvider",
    ):
        assert text in result.output
    result = CliRunner().invoke(main, ["inspect", "-m", str(proved.folder), "--json"])
    assert json.loads(result.output)["parity"]["verdict"] == "exact"


def test_what_a_file_was_rewritten_for_is_said(
    demos: Callable[[str], Package], tmp_path: Path
) -> None:
    """A text model needs operators that ONNX Runtime has not; a repository has versions."""
    package_as(demos("gpt2"), "text", tmp_path / "text")
    found = describe(tmp_path / "text")
    assert found.format == "text in, text out, with onnxruntime-extensions"
    cpu = next(p for p in found.providers if p.name == "CPUExecutionProvider")
    assert cpu.loads, cpu.reason
    package_as(demos("gpt2"), "triton", tmp_path / "gpt2", batching="ragged")
    found = describe(tmp_path / "gpt2", providers=False)
    assert found.file == tmp_path / "gpt2" / "1" / "model.onnx"
    assert found.format == "Triton's ONNX Runtime backend, ragged batching"
    assert describe(demos("gpt2").folder, providers=False).format is None
    for folder in ("text", "gpt2"):
        with pytest.raises(BeamgenError, match="writes for another program"):
            open_package(tmp_path / folder)
    with pytest.raises(BeamgenError, match="is one file of a package\nname its folder"):
        open_package(demos("gpt2").model)


def test_weights_of_subgraphs_are_found(tmp_path: Path) -> None:
    """In both branches of an If, in a file of their own, which is then lost."""
    helper, big = onnx.helper, np.ones((300, 300), np.float32)

    def branch(name: str) -> onnx.GraphProto:
        weight = onnx.numpy_helper.from_array(big, f"{name}_w")
        output = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [300, 300])
        node = helper.make_node("Identity", [f"{name}_w"], [name])
        return helper.make_graph([node], name, [], [output], [weight])

    graph = helper.make_graph(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch("a"), else_branch=branch("b"))],
        "g",
        [helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
    )
    onnx.save(
        helper.make_model(graph), tmp_path / "m.onnx", save_as_external_data=True, location="w"
    )
    found = describe(tmp_path / "m.onnx", providers=False)
    assert found.weights == {"float32": 2 * big.nbytes}
    assert found.external_data == {"w": (tmp_path / "w").stat().st_size}
    assert found.outputs[0].shape is None
    (tmp_path / "w").unlink()
    assert describe(tmp_path / "m.onnx", providers=False).external_data == {"w": None}


def test_defaults_that_json_has_not_are_null(tmp_path: Path) -> None:
    helper = onnx.helper
    odd = onnx.numpy_helper.from_array(np.array([np.nan, np.inf, 1.5], np.float32), "x")
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3])
    node = helper.make_node("Identity", ["x"], ["y"])
    onnx.save(
        helper.make_model(helper.make_graph([node], "g", [value], [], [odd])), tmp_path / "m.onnx"
    )
    command = ["inspect", "-m", str(tmp_path / "m.onnx"), "--no-load", "--json"]
    output = CliRunner().invoke(main, command).output

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    assert json.loads(output, parse_constant=refuse)["inputs"][0]["default"] == [None, None, 1.5]


def test_damaged_tensors_are_said(tmp_path: Path) -> None:
    helper = onnx.helper
    tensor = onnx.TensorProto(name="x", data_type=onnx.TensorProto.FLOAT, dims=[3], raw_data=b"ab")
    odd = onnx.TensorProto(name="o", data_type=99, dims=[3], raw_data=b"abc")
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [3])
    node = helper.make_node("Identity", ["x"], ["y"])
    graph = helper.make_graph([node], "g", [value], [], [tensor, odd])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    found = describe(tmp_path / "m.onnx", providers=False)
    assert found.inputs[0].default == "damaged"
    assert found.weights == {"float32": 12, "unknown type 99": 3}
