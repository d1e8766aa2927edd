"""What agents say, and who is heard on the links of the VIPs (law 12).

wire          datagrams as bytes
voices        which agents speak at all
clocks        time by others: whether this machine stood still
wall_clocks   wall clocks that are not like the others'
hearing       hellos both ways, asks behind them, the gateway
sides         which part of a segment that has come apart should have an address
isolation     whether this node is on a worse one
visibility    whether the VIP itself is answered, as others see it
"""
