"""The facade: an opened configuration and ledger, with every step of the work. Prints nothing."""
