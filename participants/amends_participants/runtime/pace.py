"""How often groups begin: what arrives meanwhile goes together with the next one."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Limits of the time between the starts of two groups."""

    between_s: float
    busy_s: float

    def after(self, count: int, between_s: float) -> float:
        """Least time from the start of a group of `count`, `between_s` after the one before.

        It doubles as long as commands arrive together, and ends with the first that came alone.
        """
        if count <= 1:
            return self.between_s
        return max(self.between_s, min(self.busy_s, between_s * 2))
