"""Frontends: modules of a framework as a ``Graph``."""
