"""One outside world each: an adapter translates between the core's messages and the world, and never decides."""
