"""Numbers as a refusal shows them."""

from __future__ import annotations

import re
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from actors.check_input import shown, shown_money
from protocol.units import MICROS


@given(st.integers(-(2**63), 2**63 - 1))
def test_a_number_for_people_is_exact_and_without_trailing_zeros(micros: int) -> None:
    assert Decimal(shown(micros)) * MICROS == micros
    assert not re.search(r"\.0*$|\.\d*0$", shown(micros))
    assert Decimal(shown_money(micros * MICROS + 1)) * MICROS == micros
