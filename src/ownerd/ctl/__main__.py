"""`python -m ownerd.ctl` is the program `ownerctl`, also where its script is not installed."""

from ownerd.programs import ownerctl

ownerctl()
