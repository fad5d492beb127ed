"""A cluster under load with real etcd, and one fault at a time: the history has to be right.

All faults, and as many rounds as one likes, by hand: `python tests/support/cluster_faults.py`.
"""

import random
from pathlib import Path

import pytest

pytest.importorskip("ownerd.cluster.node")

from cluster_faults import FAULTS, run_round

IN_THE_SUITE = ("freeze_leader", "standby_ahead")


@pytest.mark.parametrize(
    "name",
    [
        name if name in IN_THE_SUITE else pytest.param(name, marks=pytest.mark.long)
        for name in FAULTS
    ],
)
def test_r29_no_history_with_a_fault_shows_two_holders_or_an_old_answer(
    tmp_path: Path, name: str
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    print(run_round(name, tmp_path, seed))
