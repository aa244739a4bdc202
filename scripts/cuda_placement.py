"""Where ONNX Runtime would place a package's nodes on CUDA, found on a machine without a GPU.

    pip install --no-deps --target ort-gpu onnxruntime-gpu==1.31.1
    python scripts/cuda_placement.py ort-gpu PACKAGE...

The release's own partitioner decides, over a stand-in for NVIDIA's libraries, which this script
compiles with gcc: it hands out the host's memory and launches nothing. So a session loads, its
graph is optimized, its nodes are placed, and copies between host and device are put between
them. Nothing is computed; speed and answers are not shown. What a step runs is counted on the
CPU, in two searches of 16 and 32 steps of 5 beams, and then looked up among the placed nodes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
import onnx.inliner
import onnxruntime

from beamgen import Generator, Package, open_package

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_LIBRARY = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
_SHORT, _LONG = 17, 33
#: Operators whose result has another type, and how many inputs tell them apart.
_CONVERTING = {"QuantizeLinear": 1, "DequantizeLinear": 1, "MatMulInteger": 2}

#: What has to answer: one device of compute capability 9.0, with memory. The numbers written
#: into the properties are at the places of CUDA 13's ``cudaDeviceProp``.
_ANSWERS = """
#include <stdlib.h>
#include <string.h>
int cudaGetDeviceCount(int *n) { *n = 1; return 0; }
int cudaGetDevice(int *n) { *n = 0; return 0; }
int cudaDriverGetVersion(int *v) { *v = 13000; return 0; }
int cudaRuntimeGetVersion(int *v) { *v = 13000; return 0; }
int cudaGetDeviceProperties(char *p, int d) {
  memset(p, 0, 1008); strcpy(p, "stand-in");
  *(size_t *)(p + 288) = 1ull << 36; *(size_t *)(p + 296) = 49152; *(int *)(p + 304) = 65536;
  *(int *)(p + 308) = 32; *(int *)(p + 320) = 1024; *(int *)(p + 324) = 1024;
  *(int *)(p + 336) = 2147483647; *(int *)(p + 360) = 9; *(int *)(p + 364) = 0;
  *(int *)(p + 384) = 132; *(int *)(p + 604) = 2048; *(size_t *)(p + 624) = 233472;
  *(size_t *)(p + 672) = 232448; return 0; }
int cudaDeviceGetAttribute(int *v, int a, int d) {
  *v = a == 75 ? 9 : a == 76 ? 0 : 1024; return 0; }
int cudaMemGetInfo(size_t *f, size_t *t) { *f = *t = 1ull << 36; return 0; }
int cudaMalloc(void **p, size_t n) { *p = malloc(n + 1); return 0; }
int cudaMallocHost(void **p, size_t n) { *p = malloc(n + 1); return 0; }
int cudaHostAlloc(void **p, size_t n, unsigned f) { *p = malloc(n + 1); return 0; }
int cudaFree(void *p) { free(p); return 0; }
int cudaFreeHost(void *p) { free(p); return 0; }
int cudaMemcpy(void *d, void *s, size_t n, int k) { memcpy(d, s, n); return 0; }
int cudaMemcpyAsync(void *d, void *s, size_t n, int k, void *q) { memcpy(d, s, n); return 0; }
const char *cudaGetErrorString(int e) { return "stand-in"; }
const char *cudaGetErrorName(int e) { return "stand-in"; }
void **__cudaRegisterFatBinary(void *p) { static void *x; return &x; }
"""

#: Run in a process of its own, with the stand-in for NVIDIA's libraries.
_PLACE = f"""
import json, sys
sys.path.insert(0, sys.argv[1])
import onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 0
options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
options.optimized_model_filepath = sys.argv[3]
session = onnxruntime.InferenceSession(
    sys.argv[2], options, providers=["{CUDA}", "{CPU}"], enable_fallback=0
)
assert session.get_providers()[0] == "{CUDA}", session.get_providers()
placed = {{n.name: p.ep_name for p in session.get_provider_graph_assignment_info()
          for n in p.get_nodes()}}
json.dump(placed, open(sys.argv[3] + ".json", "w"))
"""


def stand_in(library: Path, folder: Path) -> None:
    """Compile what the CUDA provider is linked against, by the names that it asks for."""
    symbols = subprocess.run(
        ["nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True, check=True
    ).stdout
    needed = subprocess.run(
        ["readelf", "-d", str(library)], capture_output=True, text=True, check=True
    ).stdout
    for name in re.findall(r"\[(lib(?:cu|nv)[^\]]*)\]", needed):
        wanted = re.findall(rf"(\w+)@+{re.escape(name)}$", symbols, re.MULTILINE)
        if name.startswith("libcuda.so"):
            wanted = re.findall(r"\bU (cu[A-Z]\w+)$", symbols, re.MULTILINE)
        source = _ANSWERS if name.startswith("libcudart") else "#include <stdlib.h>\n"
        for function in wanted:
            if re.search(rf"[ *]{function}\(", source):
                continue
            made = "if (p) *p = malloc(4096);" if "Create" in function else ""
            source += f"int {function}(void **p) {{ {made} return 0; }}\n"
        (folder / "source.c").write_text(source)
        (folder / "names.map").write_text(f"{name} {{ global: *; }};\n")
        command = ["gcc", "-w", "-shared", "-fPIC", "-o", folder / name, folder / "source.c"]
        script = f"-Wl,--version-script={folder / 'names.map'}"
        subprocess.run([*command, f"-Wl,-soname,{name}", script], check=True)


def named(file: Path, to: Path) -> None:
    """A copy of a model without functions, in which no two nodes have one name."""
    model = onnx.inliner.inline_local_functions(onnx.load(file))
    for number, node in enumerate(_nodes(model.graph)):
        node.name = f"{number}|{node.name}"
    onnx.save(model, to)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def types_of(
    graph: onnx.GraphProto, outside: Mapping[str, int] | None = None
) -> dict[tuple[str, str], set[str]]:
    """The types that each operator takes, told from what comes first."""
    known = dict(outside or {})
    for value in [*graph.input, *graph.value_info, *graph.output]:
        known[value.name] = value.type.tensor_type.elem_type
    known |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for node in graph.node:
        kinds = [_kind(known.get(name)) for name in [*node.input, *node.output[:1]]]
        kind = kinds[1 if node.op_type == "Where" else 0]
        if node.op_type in _CONVERTING:
            kind = f"{', '.join(kinds[: _CONVERTING[node.op_type]])} to {kinds[-1]}"
        found[node.op_type, node.domain].add(kind)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                for key, types in types_of(attribute.g, known).items():
                    found[key] |= types
    return found


def _kind(number: int | None) -> str:
    return onnx.TensorProto.DataType.Name(number).lower() if number else "?"


def steps(package: Package, file: Path) -> dict[str, float]:
    """How often a step runs each node."""

    def count(new: int) -> Counter[str]:
        options = onnxruntime.SessionOptions()
        options.enable_profiling, options.log_severity_level = True, 3
        options.profile_file_prefix = str(file.parent / "profile")
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        session = onnxruntime.InferenceSession(str(file), options, providers=[CPU])
        generator = Generator(package, session=session)
        prompt = list(range(5, 13))
        generator.generate([prompt], num_beams=5, max_new_tokens=new, eos_token_id=[])
        events = json.loads(Path(session.end_profiling()).read_text())
        ends = (event["name"] for event in events if event.get("cat") == "Node")
        return Counter(
            name.removesuffix("_kernel_time") for name in ends if name.endswith("_kernel_time")
        )

    short, long = count(_SHORT), count(_LONG)
    return {name: (long[name] - short[name]) / (_LONG - _SHORT) for name in long}


def place(runtime: Path, file: Path, to: Path, libraries: Path) -> tuple[dict[str, str], str]:
    """The provider of each node, and what ONNX Runtime logged; the graph is written to ``to``."""
    done = subprocess.run(
        [sys.executable, "-c", _PLACE, str(runtime), str(file), str(to)],
        env={**os.environ, "LD_LIBRARY_PATH": str(libraries), "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    placed: dict[str, str] = json.loads(Path(f"{to}.json").read_text())
    return placed, done.stderr


class Table:
    """Every operator of some packages: its types, and where it was placed."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.types: dict[tuple[str, str], set[str]] = defaultdict(set)
        self.places: dict[str, set[str]] = defaultdict(set)

    def print(self) -> None:
        """As the page has it."""
        for (name, domain), types in sorted(self.types.items()):
            if name in ("Constant", "CastLike"):  # folded before nodes are placed
                continue
            since = domain or str(onnx.defs.get_schema(name, 23, domain).since_version)
            known, places = sorted(types - {"?"}), sorted(self.places[name]) or ["fused"]
            print(f"| `{name}` | {since} | {', '.join(known)} | {'; '.join(places)} |")


def report(runtime: Path, folder: Path, libraries: Path, table: Table) -> None:
    """Print where a package's nodes are, and what a step runs of them in brackets."""
    package = open_package(folder)
    with tempfile.TemporaryDirectory() as scratch:
        file, optimized = Path(scratch, "named.onnx"), Path(scratch, "placed.onnx")
        named(package.model, file)
        placed, log = place(runtime, file, optimized, libraries)
        per_step = steps(package, file)
        model = onnx.load(file)
        graph = onnx.load(optimized, load_external_data=False).graph
    for key, types in types_of(onnx.shape_inference.infer_shapes(model).graph).items():
        table.types[key] |= types
    there = {node.name for node in _nodes(model.graph)}
    no_kernel = set(re.findall(r"kernel not found .* node name: (.*)", log))
    nodes: Counter[tuple[str, str]] = Counter()
    step: defaultdict[tuple[str, str], float] = defaultdict(float)
    for node, runs in _with_runs(graph, per_step):
        kind = "copies"
        if not node.op_type.startswith("Memcpy"):
            kind = "CUDA"
            if placed.get(node.name, CUDA) != CUDA:  # what is fused later is CUDA's
                kind = "CPU: no kernel" if node.name in no_kernel else "CPU: its inputs are there"
            table.places[node.op_type].add(kind)
        nodes[kind, node.op_type] += 1
        # what the optimizer has made runs as often as the graph that it stands in
        step[kind, node.op_type] += per_step.get(node.name, 0) if node.name in there else runs
    print(f"{folder.name}:")
    for kind in sorted({kind for kind, _ in nodes}):
        rows = sorted(key for key in nodes if key[0] == kind)
        print(
            f"  {kind}: {sum(nodes[row] for row in rows)} ({sum(step[row] for row in rows):.4g}): "
            + ", ".join(f"{row[1]} {nodes[row]} ({step[row]:.3g})" for row in rows)
        )


def _with_runs(
    graph: onnx.GraphProto, per_step: Mapping[str, float]
) -> Iterator[tuple[onnx.NodeProto, float]]:
    """All nodes, and how often a step runs the graph that each stands in."""
    runs = max((per_step.get(node.name, 0) for node in graph.node), default=0)
    for node in graph.node:
        yield node, runs
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _with_runs(attribute.g, per_step)


def main() -> None:
    """See the module."""
    runtime, *packages = map(Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as libraries:
        stand_in(runtime / _LIBRARY, Path(libraries))
        table = Table()
        for folder in packages:
            report(runtime, folder, Path(libraries), table)
        table.print()


if __name__ == "__main__":
    main()
