"""Sagas written in Python: the typed plan. What it records is the definition document.

from amends_contracts.plan import Plan, forever
"""

from amends_contracts.definition import Retry
from amends_contracts.plan.builder import Plan
from amends_contracts.plan.origins import Origin, PlanError
from amends_contracts.plan.steps import Done
from amends_contracts.plan.values import forever

__all__ = ["Done", "Origin", "Plan", "PlanError", "Retry", "forever"]
