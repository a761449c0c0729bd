"""A result of detection to lay out and to average."""

from __future__ import annotations

from anomalist.eval.detection import DetectionResult

RESULT = DetectionResult(
    image_auroc=0.8125,
    image_auroc_interval=(0.75, 0.86),
    image_average_precision=0.7,
    image_auroc_by_defect={"crack": 0.49, "[bold]dent": None},
    image_auroc_by_defect_interval={"crack": (0.4, 0.6), "[bold]dent": None},
    pixel_auroc=0.9,
    pixel_auroc_interval=(0.88, 0.93),
    pixel_auroc_by_defect={"crack": 0.91, "[bold]dent": None},
    aupro=0.51,
    aupro_by_defect={"crack": 0.52, "[bold]dent": None},
    aupimo=0.31,
    aupimo_median=0.22,
    aupimo_zero_rate=0.25,
    asked_false_alarm_rate=0.05,
    false_alarm_rate=0.043,
    false_alarm_rate_interval=(0.02, 0.071),
    undecided_rate=0.1,
    undecided_rate_normals=0.08,
    undecided_rate_defects=0.12,
    n_train=300,
    n_test=946,
    n_test_normals=652,
    n_by_defect={"crack": 57, "[bold]dent": 0},
    n_errors=2,
    n_empty_masks=4,
    split="groups",
    detector="surface",
    notes=("2 pictures could not be judged: [red]x.png",),
    data="tiles",
    contender="surface",
    seed=0,
    effort="normal",
    learn_seconds=312.0,
    ms_per_image=61.0,
    peak_memory_mb=1480.0,
    threads=2,
)
