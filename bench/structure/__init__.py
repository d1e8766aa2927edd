"""How the source is built, in figures: imports, classes, who holds whom, and the way of one value through the calls."""
