"""How many networks of others become graphs and files, counted."""
