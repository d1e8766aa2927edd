"""The pure machine: facts in, orders out. No clock, socket, log or asyncio in here."""
