"""Faults in an order: one step, one stage, the demo, matrix, promise and chaos; and what they leave."""
