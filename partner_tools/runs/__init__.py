"""The work, step by step: begin, plan, remove, verify, restore. What the commands call.

Everything here takes its ledger, channel, clock and stop as arguments and prints nothing.
"""
