"""``anomalist check``, and what ``learn`` asks about outliers among the normal pictures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anomalist.cli.terminal import DeviceOption, JsonOption, use_device

if TYPE_CHECKING:
    from rich.console import RenderableType

    from anomalist.vision.normals_check import Decision, OutlierHandling
    from anomalist.vision.outliers import NormalsCheck
    from anomalist.vision.profile import Manifest

OutliersOption = Annotated[
    bool | None,
    typer.Option(
        "--drop-outliers/--keep-outliers",
        help="Learn without the pictures that don't belong to the rest, or with them. Else it is asked in a "
        "terminal; elsewhere a few are kept, and many end the command.",
    ),
]


def check(
    normals: Annotated[Path, typer.Argument(metavar="NORMAL_DIR", help="Pictures without defects.")],
    groups: Annotated[
        Path | None, typer.Option(help="CSV image,group: pictures of the same object share a group.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Check a random sample of at most this many.")] = None,
    roi: Annotated[Path | None, typer.Option(help="Picture whose white part is what counts.")] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    json: JsonOption = False,
    device: DeviceOption = None,
) -> None:
    """Look for defects and pictures of a second product among good pictures; learns nothing."""
    from anomalist.cli.terminal import err, out, progress_bars
    from anomalist.errors import DetectorError
    from anomalist.pipeline import check_normals

    use_device(device)
    with progress_bars() as progress:
        found = check_normals(normals, groups=groups, limit=limit, roi=roi, seed=seed, progress=progress)
    for reason in found.skipped:
        err.print(f"Skipped {reason}", markup=False, soft_wrap=True)
    if json:
        print(found.model_dump_json(exclude={"decision"}))
    elif found.not_checked is None:
        out.print(outlier_table(found))
    if found.not_checked is not None:
        raise DetectorError(f"Nothing was checked: {found.not_checked}")


def outlier_table(check: NormalsCheck) -> RenderableType:
    """What was found as a table, those most unlike the rest on top, under a sentence that counts them."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from anomalist.vision.normals_check import summary

    said = Text(summary(check))
    if not check.outliers:
        return said
    table = Table("picture", "what", "how much")
    for outlier in sorted(check.outliers, key=lambda one: (one.why, -one.measure)):
        share = outlier.why == "second product"
        how_much = f"{100 * outlier.measure:.0f} % of it is new" if share else f"z = {outlier.measure:.1f}"
        table.add_row(Text(outlier.source, overflow="fold"), outlier.why, how_much)
    return Group(said, table)


def handling(drop: bool | None, pause: Callable[[], None]) -> OutlierHandling:
    """What becomes of outliers: as the option says, else as a person in the terminal says, if there is one.

    ``pause`` takes the progress bars away, so that something can be asked.
    """
    if drop is not None:
        return "drop" if drop else "keep"
    if not sys.stdin.isatty():
        return None

    def ask(check: NormalsCheck) -> Decision:
        from anomalist.cli.terminal import err

        pause()
        err.print(outlier_table(check))
        while True:
            said = typer.prompt("Learn without them, with them, or not at all? (drop/keep/stop)", err=True)
            if said in ("drop", "keep"):
                return "drop" if said == "drop" else "keep"
            if said == "stop":
                raise typer.Exit(2)

    return ask


def describe_outliers(manifest: Manifest) -> tuple[str, ...]:
    """Lines for the end of ``learn``: what was found among the normals, and what was done about it."""
    from anomalist.vision.normals_check import summary

    check = manifest.check
    if check is None or (not check.outliers and check.not_checked is None):
        return ()
    if not check.outliers:
        return (summary(check),)
    done = (
        "They were left out."
        if check.decision == "dropped"
        else "They were learned from, and they calibrate: defects like them can pass, and the threshold is "
        "higher. --drop-outliers leaves them out."
    )
    names = (f"  {outlier.source}: {outlier.why}" for outlier in check.outliers)
    return (f"{summary(check)} {done}", *names)
