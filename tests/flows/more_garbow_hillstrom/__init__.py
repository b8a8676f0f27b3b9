"""All 35 test functions of Moré, Garbow and Hillstrom, with Jacobians derived by hand.

J. J. Moré, B. S. Garbow, K. E. Hillstrom: Testing unconstrained optimization software, ACM TOMS 7 (1981), 17-41.
Minima are those of the paper. For Meyer's and for Kowalik and Osborne's function NIST certifies more digits, as MGH10
and MGH09 of its Statistical Reference Datasets.
"""

from tests.flows.more_garbow_hillstrom.fitted import FITTED
from tests.flows.more_garbow_hillstrom.problem import Array, Problem
from tests.flows.more_garbow_hillstrom.sized import SIZED
from tests.flows.more_garbow_hillstrom.small import SMALL
from tests.flows.more_garbow_hillstrom.systems import SYSTEMS

PROBLEMS: dict[str, Problem] = {**SMALL, **FITTED, **SIZED, **SYSTEMS}

__all__ = ["PROBLEMS", "SYSTEMS", "Array", "Problem"]
