"""Reports: runs -> ``table.Table`` -> text for people, machines, papers. Depends on runs alone."""
