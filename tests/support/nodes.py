"""Nodes of a cluster in process, on etcd that is not real."""

import time
from pathlib import Path
from typing import Any

import pytest
from fake_etcd import FakeEtcd

pytest.importorskip("ownerd.cluster.node")

from ownerd.base.clock import Clock
from ownerd.cluster.etcd_client import Etcd
from ownerd.cluster.node import Node
from ownerd.engine.engine import CLAIM, REPORT_ATTEMPT, Engine, Opening, Policy, Refused
from ownerd.server.cluster import Membership
from ownerd.server.log_bounds import LogBounds
from ownerd.v1 import dial_pb2

HOUR_NS = 3_600 * 10**9
POLICY = Policy(True, 24 * HOUR_NS, None, HOUR_NS)


class Held:
    """A node that sees who leads, and is given no entries while it `holds`."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.holds = False
        self.asked = self.stood = self.asked_first = 0
        self.lag_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.node, name)

    def follow(self, timeout_s: float) -> Any:
        if not self.holds:
            return self.node.follow(timeout_s)
        time.sleep(0.01)
        _, self.lag_s = self.node.behind()
        return []

    def catch_up(self) -> Any:
        return [] if self.holds else self.node.catch_up()

    def behind(self) -> tuple[int, float]:
        self.asked += 1
        return self.node.behind()

    def stand(self) -> bool:
        self.stood += 1
        self.asked_first = self.asked
        return self.node.stand()


class Machine:
    """One node: its store, its engine, its part in the cluster."""

    def __init__(self, etcd: FakeEtcd, directory: Path, node_id: str, **options: Any) -> None:
        self.aim = Etcd(etcd.addresses)
        clock = Clock()
        self.node = Node(
            self.aim,
            "shop",
            clock,
            node_id=node_id,
            member=b'{"node": "%s", "dial": "%s:7411", "admin": "%s:7412"}'
            % ((node_id.encode(),) * 3),
            lease_s=1,
        )
        self.engine = Engine(
            str(directory / node_id),
            clock,
            map_bytes=64 << 20,
            memtable_bytes=4 << 20,
            opening=Opening(cluster=self.node),
            **options,
        )
        self.roles: list[str] = []
        self.failures: list[str] = []
        self.membership = Membership(
            self.engine, self.node, self.roles.append, self.failures.append
        )

    def create(self) -> None:
        begin = (self.engine.incarnation, self.engine.revision, 0, 0)
        self.node.create(begin)
        self.engine.take_position(begin)

    def join(self) -> None:
        if self.engine.position is None:
            self.engine.take_position(self.node.begin(None))

    def leads(self) -> bool:
        return not self.engine.standing_by

    def be_held(self) -> Held:
        """Follow by a node that can be held up."""
        self.membership.stop()
        held = Held(self.node)
        self.membership = Membership(
            self.engine,
            held,
            self.roles.append,
            self.failures.append,
            LogBounds(self.engine, self.node),
        )
        self.membership.start()
        return held

    def refusal(self) -> str:
        """Return why a claim is refused; "": it is not."""
        try:
            self.claim("refused", "red")
        except Refused as error:
            return error.message
        return ""

    def freeze(self) -> None:
        """Be cut off from etcd, as one that is dead is."""
        self.aim.stop()

    def close(self) -> None:
        self.aim.stop()
        self.membership.stop()
        self.engine.close()

    def claim(self, record_id: str, campaign_id: str) -> str:
        request = dial_pb2.ClaimRequest(
            list_id="list", record_id=record_id, campaign_id=campaign_id
        )
        answer = self.engine.dial(CLAIM, request.SerializeToString())
        found = dial_pb2.ClaimResponse.FromString(answer)
        return dial_pb2.ClaimDecision.Name(found.decision).removeprefix("CLAIM_DECISION_")

    def report(self, record_id: str, campaign_id: str) -> str:
        request = dial_pb2.ReportAttemptRequest(
            list_id="list", record_id=record_id, campaign_id=campaign_id, wrap_up_code="Busy"
        )
        answer = self.engine.dial(REPORT_ATTEMPT, request.SerializeToString())
        found = dial_pb2.ReportAttemptResponse.FromString(answer)
        return dial_pb2.AttemptOutcome.Name(found.outcome).removeprefix("ATTEMPT_OUTCOME_")
