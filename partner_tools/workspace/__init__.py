"""An opened workspace: the parts put together, and every step of the work as a method.

What `from partner_tools import …` gives, and what the commands call. Prints nothing.
"""
