"""The services: build a request, send it, read the answer. One attempt a call, no decisions."""
