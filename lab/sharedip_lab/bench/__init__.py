"""Figures beside their targets: the same thing again and again, section by section."""
