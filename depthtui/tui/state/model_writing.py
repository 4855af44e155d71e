"""A model that the engine writes without some of its layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from depthtui.data.pieces import NumberedParts, Piece
from depthtui.data.protocol import Event, Failed, ModelWritten
from depthtui.tui.state.toast import Toast


class ModelWriting:
    """A model that the engine writes.

    Args:
        run_id: the engine's id of the writing.
        left_out: the pieces that it leaves out.
        piece: their kind.

    Attributes:
        left_out, piece: as above.
        is_live: whether the engine writes it, or will next.
        outcome: the message on its result, once it is over.
    """

    def __init__(self, run_id: int, left_out: Sequence[int] = (), piece: Piece = "layer") -> None:
        self.run_id = run_id
        self.left_out, self.piece = tuple(left_out), piece
        self._healed_kl: tuple[float, ...] = ()
        self.is_live = True
        self.outcome: Toast | None = None

    def handle(self, event: Event) -> bool:
        """Update the writing; returns whether the event was about it."""
        match event:
            case ModelWritten() if event.run_id == self.run_id:
                words = f"{event.layers} layers, {event.parameters:,} parameters in {event.folder}"
                self._healed_kl = event.healed_kl
                words = "; ".join(filter(None, [words, event.healing]))
                if self.piece == "part":
                    words += f". {NumberedParts.of(self.left_out).at_zero}"
                self.outcome = Toast(words, title="The model is written")
            case Failed() if event.run_id == self.run_id:
                self.outcome = Toast(event.words, "error")
            case _:
                return False
        self.is_live = False
        return True

    def healed_kl(self, layers: Collection[int]) -> tuple[float, ...]:
        """The KL without these layers, cut alone and healed; empty for another model."""
        return self._healed_kl if set(layers) == set(self.left_out) else ()

    def end(self, problem: str) -> None:
        """End the writing."""
        if self.is_live:
            self.is_live, self.outcome = False, Toast(problem, "error")
