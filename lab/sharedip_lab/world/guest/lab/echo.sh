#!/bin/sh
# The lab's echo enters a namespace by its name: this is the machine's own. It ends with its standard input.
ip netns attach own 1 2>/dev/null || true
sleep infinity | exec python3 -m sharedip_lab.programs.echo "{\"nodes\": [[\"$(uname -n)\", \"own\"]]}"
