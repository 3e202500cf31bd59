"""The replay ring: who may go on how far, so that nothing depends on scheduling (design section 5, seams P).

    router.py    order_routing's part: holds the venue at v, grants up to h
    strategy.py  a strategy's part: runs its hooks to h, or stops where it needs an answer
    risk.py      risk's part: waits for all, then appends what follows, in order of position
    bystander.py a strategy that does not trade: beside the ring
    ticks.py     the ticks that each of them holds
    parts.py     what a strategy's part holds besides

Each part is a state machine without sockets: ticks, records and tokens go in; records, signals and tokens come out. The
actors carry them in processes; the tests carry them under a random scheduler, and compare with a plain interpreter.

    GRANT(v, h)  order_routing -> wal -> risk, strategies   the venue has done everything up to v; go to h
    REACHED(p)   strategy -> risk                           one for every GRANT
    DONE(i)      risk -> wal -> order_routing               all stand at i or beyond; what follows is appended

A token says the LSN of the last record before it, and is heard when one's own tail has come so far.
"""
