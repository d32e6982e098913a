"""The OEM Direct API: wire profile, request, guard and client."""
