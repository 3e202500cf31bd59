"""What the money of each symbol is worth in the account's currency now: the routes of the config, at the marks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from actors.ledger import NO_RATES
from protocol.conversion import PARITY, Rate, Route, find_route, routes_of
from protocol.records import EngineRun
from protocol.settings import Config

Marks = Mapping[int, Sequence[int]]
"""Bid and ask in micros (and what follows) by symbol id."""


class Conversions:
    """False where all money is the account's."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._run: EngineRun | None = None
        self._routes: dict[int, Route | None] = {}

    def __bool__(self) -> bool:
        return bool(self._routes)

    def take_run(self, run: EngineRun | None) -> None:
        """The id tables. They name the currency of what the config has no more, and may still be held."""
        if run is None or run is self._run:
            return
        self._run, config = run, self._config
        ids = {name: symbol_id for symbol_id, (name, _) in enumerate(run.symbols)}
        self._routes = {
            ids[name]: find_route(config, ids, currency)
            for name, currency in run.currencies.items() if currency != run.currency
        } | routes_of(config, dict(enumerate(ids)))  # fmt: skip

    def rate(self, symbol_id: int, marks: Marks) -> Rate | None:
        """None: not known, for want of a mark."""
        if symbol_id not in self._routes:
            return PARITY
        route = self._routes[symbol_id]
        mark = None if route is None else marks.get(route.symbol_id)
        return None if route is None or mark is None else route.rate(mark[0], mark[1])

    def rates(self, marks: Marks) -> Mapping[int, Rate | None]:
        """Of the symbols alone whose money is not the account's."""
        return {symbol_id: self.rate(symbol_id, marks) for symbol_id in self._routes} if self._routes else NO_RATES

    def unknown(self, symbol_ids: Iterable[int], marks: Marks) -> str:
        """Why the money of one of these is not known, for people; "": it is, of all."""
        for symbol_id in sorted(self._routes.keys() & symbol_ids):
            if self.rate(symbol_id, marks) is None:
                return self._explain(symbol_id)
        return ""

    def _explain(self, symbol_id: int) -> str:
        assert self._run is not None, "whose routes they are"
        route, (symbol, _) = self._routes[symbol_id], self._run.symbols[symbol_id]
        if route is None:
            return f"nothing configured converts the {self._run.currencies[symbol]} of {symbol}"
        return f"{self._run.symbols[route.symbol_id][0]} has no quote yet, which converts the money of {symbol}"
