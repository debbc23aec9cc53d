"""`python -m tests.simulation SEED…`: run worlds of full size, print a JSON line each."""

import sys

import msgspec
from tests.simulation.world import World

for seed in map(int, sys.argv[1:] or ["1"]):
    print(msgspec.json.encode(World(seed).run()).decode(), flush=True)
