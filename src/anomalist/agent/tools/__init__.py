"""Agent tools: plain functions over a `Subject`, each returning evidence ids and numbers.

Every tool takes the subject first, then simple arguments that a model can write as JSON, and returns a frozen
record. Failures raise an `AnomalistError` that says what to do instead. The names of the tools, of their
parameters and of their results' fields are the schema that models see; their docstrings are the descriptions.
"""

from __future__ import annotations

from collections.abc import Callable

from anomalist.agent.tools.clips import frame_at, list_events
from anomalist.agent.tools.decision import (
    change_false_alarm_rate,
    choose_option,
    explain_severity,
    show_provenance,
)
from anomalist.agent.tools.memory import (
    apply_rules,
    list_rules,
    recall_similar_cases,
    record_feedback,
    search_records,
    undo_feedback,
)
from anomalist.agent.tools.pictures import (
    compare_pictures,
    compare_with_normal,
    count_regions,
    inspect_picture,
    measure_distance,
    measure_region,
    show_findings,
    zoom,
)
from anomalist.agent.tools.records import query_records
from anomalist.agent.tools.selection import call_selection_fine
from anomalist.agent.tools.subject import Result

TOOLS: tuple[Callable[..., Result], ...] = (
    show_findings,
    inspect_picture,
    zoom,
    compare_with_normal,
    compare_pictures,
    measure_region,
    measure_distance,
    count_regions,
    choose_option,
    change_false_alarm_rate,
    explain_severity,
    show_provenance,
    recall_similar_cases,
    record_feedback,
    undo_feedback,
    list_rules,
    apply_rules,
    search_records,
    query_records,
    call_selection_fine,
    list_events,
    frame_at,
)
"""All tools, in the order in which models see them."""
