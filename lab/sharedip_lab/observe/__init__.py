"""What is seen from outside, and the arithmetic on it. Nothing here takes an agent's word for anything."""
