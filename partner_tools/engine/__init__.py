"""Drives plans against channels and the recorder. Knows no HTTP and no SQL."""
