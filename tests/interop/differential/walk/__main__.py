"""`python3 -m differential.walk --seed S --steps N [--show] [--shrink]`: walks, prints where the servers part."""

import argparse
import sys

from .journey import Ground
from .shrink import shrink
from .steps import choose

LAST = 12


def main():
    parser = argparse.ArgumentParser(prog="python3 -m differential.walk")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, metavar="COUNT", help="this many seeds, one after the other")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--show", action="store_true", help="print each step before it is played")
    parser.add_argument("--shrink", action="store_true", help="leave out the steps that a difference does not need")
    options = parser.parse_args()
    ground = Ground()
    parted = 0
    try:
        for seed in range(options.seed, options.seed + options.seeds):
            parted += not walk(ground, seed, options)
    finally:
        ground.close()
    sys.exit(1 if parted else 0)


def walk(ground, seed, options):
    steps = choose(seed, options.steps)
    found = ground.walk(steps, print if options.show else None)
    if found is None:
        print(f"seed {seed}: {options.steps} steps, no difference", flush=True)
        return True
    print(f"seed {seed}: the servers part at step {found.position + 1}", flush=True)
    print(f"again: python3 -m differential.walk --seed {seed} --steps {found.position + 1} --shrink")
    if options.shrink:
        steps, found = shrink(ground, steps, found)
        print(f"{len(steps)} steps are enough:\n{found.text()}", flush=True)
    else:
        print(f"its last steps:\n{found.text(LAST)}", flush=True)
    return False


main()
