"""The agent: the only loop, and what it is made of.

`wiring` makes the adapters (`world`) and puts the agent together; `life` begins and ends it, and `run` is the process
around it. `queue` has the facts and `loop` is their one consumer; `executor` carries the core's orders out. `operator`
takes what people ask for (`tickets` wait for the core, `reload` reads the documents again), `reports` and `status` are
what they are told. `guard` knows what is fenced, `reach` where peers find us, `start` what a former run left;
`documents` and `settings` are pure: the documents against this machine, and what follows from them.

Nothing is imported here: `sharedip check` needs `documents` and `settings` alone.
"""
