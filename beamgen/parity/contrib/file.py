"""A contrib package runs with other attributes than it was exported with."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from beamgen.package.folder import Package
from beamgen.parity.contrib.rule_scores import Floats
from beamgen.parity.report import ParityCase
from beamgen.runtime.contrib import beam_output
from beamgen.runtime.loras import LoadedLoras
from beamgen.runtime.session import run, session_of
from beamgen.settings.contrib import DOMAIN, check_operator
from beamgen.settings.contrib_inputs import attributes, feeds
from beamgen.settings.result import BeamOutput


class ContribFile:
    """Runs a package's graph with the attributes that a case asks for.

    EOS id, early stopping and n-gram size are attributes of the node, so that a grid
    needs the same file with others. One session is kept at a time.
    """

    def __init__(self, package: Package, lora: str | None = None) -> None:
        """Read the graph, and a LoRA of the package if one is named."""
        self._package = package
        self._lora = LoadedLoras(package).feeds(lora, 1)
        self._model = ir.load(package.model)
        self._node = next(n for n in self._model.graph if n.domain == DOMAIN)
        self._attributes: dict[str, Any] = {}
        self._session: Any = None

    def search(self, case: ParityCase) -> BeamOutput:
        """The file's answer, in the form of the loop backend.

        Raises:
            SettingError: the package's operator cannot honour the case.
        """
        values = self._run(case)
        config = case.config.for_prompt(case.prompt_len)
        return beam_output(
            values["sequences"], values.get("sequences_scores"), case.prompt_len, config
        )

    def step_scores(self, case: ParityCase) -> Floats:
        """What ``BeamSearch`` chose by, with its third output: float32 ``[G, B*K, V]``.

        Processed log-probabilities plus the beams' own, for G generated tokens.
        """
        self._node.resize_outputs(3)
        scores = self._node.outputs[2]
        scores.name, scores.type = "scores", ir.TensorType(ir.DataType.FLOAT)
        scores.shape = ir.Shape(["generated_len", "batch", "num_beams", "vocab_size"])
        self._model.graph.outputs.append(scores)
        self._attributes = {}
        values: Floats = self._run(case)["scores"]
        self._model.graph.outputs.pop()
        self._node.resize_outputs(2)
        self._attributes = {}
        return values.reshape(len(values), -1, values.shape[-1])

    def _run(self, case: ParityCase) -> dict[str, Any]:
        manifest = self._package.manifest
        config = case.config.for_prompt(case.prompt_len)
        check_operator(config, self._node.op_type)
        fixed = attributes(config, manifest.vocab_size)
        if fixed != self._attributes:
            self._session = None  # free it first
            for name, value in fixed.items():
                kind = ir.AttributeType.INT if isinstance(value, int) else ir.AttributeType.FLOAT
                self._node.attributes[name] = ir.Attr(name, kind, value)
            self._session = session_of(self._model, self._package.folder)
            self._attributes = fixed
        given = feeds(*case.batch(), config, manifest.vocab_size) | self._lora
        names = [found.name for found in self._session.get_outputs()]
        return dict(zip(names, run(self._session, names, given), strict=True))
