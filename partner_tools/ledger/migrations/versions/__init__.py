"""One module per version, named `r` and the revision's number."""
