"""The central side: verify, then store; evidence is the truth, everything else a projection."""
