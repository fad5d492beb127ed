"""Names of metrics: those that the alert rules and the dashboard ask for, and those on a page."""

import json
import re
from pathlib import Path

import yaml


def asked_for(contrib: Path) -> set[str]:
    """Return what rules and dashboard in a directory of `ownerd contrib` name."""
    rules = yaml.safe_load((contrib / "ownerd-alerts.yml").read_text())["groups"][0]["rules"]
    panels = json.loads((contrib / "ownerd-dashboard.json").read_text())["panels"]
    expressions = [rule["expr"] for rule in rules]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    name = r"\b(?:ownerd|process)_[a-z_]+[a-z](?=[{\[ ()\"]|$)"
    return set(re.findall(name, "\n".join(expressions), re.M))


def of_clusters(names: set[str]) -> set[str]:
    """Return those that only a node of a cluster has."""
    return {name for name in names if name.startswith("ownerd_cluster_")}


def shown_on(page: str) -> set[str]:
    """Return what a page has; a histogram that counted nothing yet has no samples, but a type."""
    samples = set(re.findall(r"^([a-z_]+)[{ ]", page, re.M))
    kinds = re.findall(r"^# TYPE (\S+) histogram", page, re.M)
    return samples | {f"{name}_{end}" for name in kinds for end in ("bucket", "count", "sum")}
