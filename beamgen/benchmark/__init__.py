"""``beamgen bench``: this package's files against what else runs the same search."""

from beamgen.benchmark.contestants import CONTESTANTS as CONTESTANTS
from beamgen.benchmark.race import bench as bench
from beamgen.benchmark.report import BenchReport as BenchReport
