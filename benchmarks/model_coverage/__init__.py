"""A count of other people's networks that become graphs and files."""
