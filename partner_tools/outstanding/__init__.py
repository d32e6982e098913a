"""The steps that are left to do for a device, decided from evidence alone."""
