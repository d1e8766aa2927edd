"""What the lab breaks, and how each break is undone."""
