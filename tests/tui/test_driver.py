"""What the terminal driver hands to the thread that writes."""

from __future__ import annotations

from textual._ansi_sequences import SYNC_END, SYNC_START

from depthtui.tui.driver import TolerantDriver


class Writer:
    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.written.append(text)


def test_a_frame_is_one_piece_and_nothing_else_waits() -> None:
    driver, writer = TolerantDriver.__new__(TolerantDriver), Writer()
    driver._writer_thread = writer  # type: ignore[assignment]
    for data in ("bell", SYNC_START, "frame", SYNC_END, "bell", SYNC_START, SYNC_END):
        driver.write(data)
    assert writer.written == ["bell", f"{SYNC_START}frame{SYNC_END}", "bell", SYNC_START + SYNC_END]
