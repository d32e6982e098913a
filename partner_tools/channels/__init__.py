"""The two ways to remove a registration, as the engine needs them: small adapters over a client."""
