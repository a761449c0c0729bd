"""What the agent can do to look again: plain functions over a `Subject`, each returning ids and numbers.

Every tool takes the subject first, then simple arguments that a model can write as JSON, and returns a frozen
record. What can't be done raises an `AnomalistError` whose text says what to do instead.
"""

from __future__ import annotations

from collections.abc import Callable

from anomalist.agent.tools.choosing import choose_option
from anomalist.agent.tools.deciding import change_false_alarm_rate, explain_severity
from anomalist.agent.tools.looking import (
    compare_pictures,
    compare_with_normal,
    inspect_picture,
    show_findings,
    zoom,
)
from anomalist.agent.tools.measuring import count_regions, measure_distance, measure_region
from anomalist.agent.tools.provenance import show_provenance
from anomalist.agent.tools.remembering import (
    apply_rules,
    list_rules,
    recall_similar_cases,
    record_feedback,
    search_records,
    undo_feedback,
)
from anomalist.agent.tools.subject import Result
from anomalist.agent.tools.watching import frame_at, list_events

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
    list_events,
    frame_at,
)
"""All of them, in the order in which a model is told of them."""
