"""What is fast is held against its plain formulation, side by side.

`python -m benchmarks` runs all of those below, `python -m benchmarks.NAME` one of them.
"""

# A new benchmark is a module with `cases`, see `harness`, and its name here.
BENCHMARKS = ("step", "mapper", "mappers", "backbones", "clip", "data", "rows", "score", "export", "report")
