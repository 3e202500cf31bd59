"""`seawall report` and the end-of-run summary: what a run was worth, from its journal and, where it can be, its data.

    statistics.py   the formulas: functions of values
    trades.py       fills -> round trips and exact sums, for the account and for each strategy
    history.py      the journal -> a run's fills, and the state that it began with
    buckets.py      any number of values over time -> at most so many buckets
    curve.py        equity over time -> buckets, drawdowns, daily closes
    marks.py        the data, read again: equity at every tick, prices, the spread that was paid
    performance.py  all of it together
    charts.py, tables.py, page.py   the HTML

Nothing here talks to an engine, and nothing imports it before `report` or a summary is asked for. Floats are right
here: these are figures for people. What can be exact (profit, commission, counts) is summed in integers first.
"""
