"""``anomalist export`` and ``anomalist import``: a profile for the edge, and models of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anomalist.cli.terminal import ProfileOption, RateOption

app = typer.Typer(help="Take models of other projects as detectors.", no_args_is_help=True)


def export(
    profile: ProfileOption,
    output: Annotated[
        Path | None, typer.Option(help="Folder to write; NAME-edge here when not asked.")
    ] = None,
    false_alarm_rate: RateOption = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy (TOML) instead of the shipped one: what is too close to call.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace an export that is already there.")] = False,
) -> None:
    """Write a profile as ONNX and JSON, with a runner of one file that gives the same labels.

    The runner needs onnxruntime, numpy and Pillow alone: python NAME-edge/run.py PICTURE…
    """
    from anomalist.composition import open_policy
    from anomalist.edge.export import export_profile
    from anomalist.storage.artifacts import profile_name

    place = output if output is not None else Path(f"{profile_name(profile)}-edge")
    written = export_profile(
        profile, place, policy=open_policy(policy), false_alarm_rate=false_alarm_rate, force=force
    )
    size = sum(file.stat().st_size for file in place.iterdir() if file.is_file())
    typer.echo(
        f"Wrote {written.name} to {place} ({size / 1e6:.0f} MB). Without: {'; '.join(written.left_out)}.\n"
        f"Use it: python {place / 'run.py'} PICTURE… (needs onnxruntime, numpy and Pillow)",
        err=True,
    )


@app.command()
def anomalib(
    model: Annotated[
        Path, typer.Argument(metavar="DIR", help="What anomalib exported: model.onnx, or model.xml and .bin.")
    ],
    normals: Annotated[
        Path,
        typer.Argument(metavar="NORMAL_DIR", help="Pictures without defects, that it did not learn from."),
    ],
    profile: ProfileOption,
    groups: Annotated[
        Path | None, typer.Option(help="CSV image,group: pictures of the same object share a group.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    roi: Annotated[Path | None, typer.Option(help="Picture whose white part is what counts.")] = None,
    force: Annotated[bool, typer.Option(help="Replace a profile that is already there.")] = False,
) -> None:
    """Make a profile of a model that anomalib exported, calibrated on normal pictures.

    Its scores become p-values, so that a false-alarm rate can be asked for. It holds only where the model did
    not learn from these pictures.
    """
    from anomalist.audit.recording import record_learning
    from anomalist.cli.terminal import err, progress_bars
    from anomalist.pipeline import learn
    from anomalist.vision.detectors.anomalib import AnomalibDetector

    with progress_bars() as progress:
        learned = learn(
            normals,
            profile=profile,
            groups=groups,
            seed=seed,
            roi=roi,
            detector=AnomalibDetector.name,
            backbone=str(model.resolve()),
            outliers="keep",
            force=force,
            progress=progress,
        )
    record_learning(learned)
    for reason in learned.manifest.skipped:
        err.print(f"Skipped {reason}", markup=False, soft_wrap=True)
    calibration = learned.calibration
    typer.echo(
        f"Imported {learned.name}, calibrated on {len(calibration.scores)} pictures: false-alarm rates from "
        f"{calibration.lowest_rate:.3g} up can be asked for.\nNote: {AnomalibDetector.caution}.",
        err=True,
    )
