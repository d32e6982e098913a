"""The steps of a run, for the commands: begin, plan, remove, verify, restore.

Everything here takes its ledger, channel, clock and stop as arguments and prints nothing.
"""
