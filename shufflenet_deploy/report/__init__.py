"""Reports: runs -> ``Table`` -> text for people, machines and papers. Knows nothing but runs."""

from shufflenet_deploy.report.table import Table

__all__ = ["Table"]
