"""The services as they behave, on loopback: for demos, users' pipelines and our tests."""
