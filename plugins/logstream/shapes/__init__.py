"""What the platform's events look like: the one place that knows their fields, and that says what is only assumed.

Two shapes of user activity are known: as it is streamed (`event`, times like `2019-09-13 17:24:16 UTC`, no id, no workspace, no
`user` where the platform acted) and as the platform's API gives it (`event_type`, ISO 8601, `workspace`). Jobs come with their
context at the top or, older ones, below `report.workato.job_context`; the API's summaries have `is_error` for `status`.

Documented: jobs and user activity ("Audit log streaming" and its sample), identity (Admin console page). Assumed, as no page
names them: the fields of API platform logs and of log events (`timestamp`, `method`, `path`, `status_code`, `latency_ms`,
`client`, `endpoint`, `ip_address`; `log_type`, `level`, `message`), and those of Genie conversations (`timestamp`, `event`,
`conversation_id`, `genie`, `message`). Nothing here raises for what an event holds: what is missing, or is not what it should
be, is `None`.

`heads` reads what stands at the top of an event, for every event and fast; `facts` all that can be said of one in common
words, for the templates that speak a vendor's schema.
"""

from logstream.shapes.facts import Facts, Party, Thing, facts_of
from logstream.shapes.heads import (
    LOG_LEVEL_FIELD,
    LOG_LEVELS,
    LOG_TYPE_FIELD,
    LOG_TYPES,
    Head,
    is_time,
    is_time_or_milliseconds,
    kind_of,
    log_fields,
    log_word,
    parse_time,
    read_head,
    said_time,
    time_of,
    type_of,
    unix_us,
)

__all__ = [
    "LOG_LEVELS",
    "LOG_LEVEL_FIELD",
    "LOG_TYPES",
    "LOG_TYPE_FIELD",
    "Facts",
    "Head",
    "Party",
    "Thing",
    "facts_of",
    "is_time",
    "is_time_or_milliseconds",
    "kind_of",
    "log_fields",
    "log_word",
    "parse_time",
    "read_head",
    "said_time",
    "time_of",
    "type_of",
    "unix_us",
]
