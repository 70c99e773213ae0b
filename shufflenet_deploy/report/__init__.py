"""Reports: runs -> ``Table`` -> text for people, machines and papers. Depends on runs alone."""

from shufflenet_deploy.report.table import Table

__all__ = ["Table"]
