"""What is measured of a contestant."""
from dataclasses import dataclass

from .contestants import Case, Quality


@dataclass(frozen=True)
class Result:
    """What one contestant of a case needs.

    Attributes:
        case: What was compared.
        contestant: Library, form and memory format.
        shape: Shape of the input (B, 3, H, W).
        median: Seconds for one step.
        spread: Seconds between the quartiles.
        ratio: Speed relative to the case's first contestant.
        page_faults: How often a step had to wait for a page of memory.
        peak_bytes: Memory a step needs at its height, over what it starts at; 0
            where PyTorch cannot see it.
        saved_bytes: What the forward pass keeps for the backward pass; 0 in
            inference.
        floor: Least seconds that the hardware allows for the convolutions and
            linear layers of the deploy form, where that is among the
            contestants.
        quality: Of a whole model.
        refused: Why there is no such contestant; nothing was measured of it then.
    """

    case: Case
    contestant: str
    shape: tuple[int, ...]
    median: float
    spread: float
    ratio: float
    page_faults: float
    peak_bytes: int
    saved_bytes: int
    floor: float | None
    quality: Quality | None = None
    refused: str = ''

    @property
    def pictures_per_second(self) -> float:
        """Of all processes together."""
        return self.shape[0] * self.case.processes / self.median
