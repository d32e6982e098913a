"""Runs that are queued on one PostgreSQL and carried out by workers anywhere.

The ledger stays the state: a job says which run is next and from which device on, nothing else.
A job that is lost is made again from the ledger alone.
"""
