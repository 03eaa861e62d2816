"""GVSoC as a second simulator of the cluster: a target of our own, for an installation that the user has."""
