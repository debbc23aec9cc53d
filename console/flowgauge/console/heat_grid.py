"""The failure heat map as text: a row a weekday, a column an hour, in 80 columns. Pure.

percent of finished runs that failed, by weekday and hour (UTC)

     00 01 02 …
Mon   ·  ·  0  5 38 ##        · no runs   0 none failed   <1 under half a percent   ## all failed
"""

from collections.abc import Iterable, Mapping

from flowgauge.console.web.heat_map import Cell, heat_map

LEGEND = "· no runs, 0 none failed, <1 under half a percent, ## all failed"
WIDTH = 3  # of a cell; 24 of them and the weekday fit 80 columns


def heat_grid(rows: Iterable[Mapping[str, object]], tz: str) -> str:
    """Return the grid of rows with `weekday`, `hour`, `failed` and `finished`, and the sentence that sums it up."""
    shown = heat_map(rows)
    hours = "".join(f"{hour:02}".rjust(WIDTH) for hour in range(24))
    days = [f"{day[:3]} " + "".join(_cell(cell).rjust(WIDTH) for cell in cells) for day, cells in shown.rows]
    title = f"Percent of finished runs that failed, by weekday and hour ({tz})"
    return "\n".join([title, "", f"    {hours}", *days, "", LEGEND, shown.summary])


def _cell(cell: Cell) -> str:
    if not cell.finished:
        return "·"
    if cell.failed == cell.finished:
        return "##"
    percent = round(100 * cell.failed / cell.finished)
    if not percent:
        return "<1" if cell.failed else "0"
    return str(min(percent, 99))  # 100 is what ## says
