"""pytest entry: a few random walks. `python3 -m differential.walk` makes others."""

import pytest

from .walk.journey import Ground
from .walk.steps import choose

SEEDS = (1, 2, 3, 4, 5, 6)
STEPS = 200
SHOWN = 12


@pytest.fixture(scope="module")
def ground():
    ground = Ground()
    yield ground
    ground.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_walk_leads_to_the_same_place(ground, seed):
    found = ground.walk(choose(seed, STEPS))
    if found:
        again = f"python3 -m differential.walk --seed {seed} --steps {found.position + 1} --shrink"
        pytest.fail(f"step {found.position + 1}; again: {again}\n{found.text(SHOWN)}", pytrace=False)


def test_a_seed_always_gives_the_same_steps():
    assert choose(7, 120) == choose(7, 200)[:120]
    assert choose(7, 120) != choose(8, 120)
