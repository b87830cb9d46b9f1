"""A package, so that no `tests` that another distribution installs can take its place."""
