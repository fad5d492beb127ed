"""`python -m ownerd.server` is the program `ownerd`, also where its script is not installed."""

from ownerd.programs import ownerd

ownerd()
