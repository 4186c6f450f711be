"""Fields of a job that other tools obey, and what says the same here. They are ignored like any unknown field."""

from __future__ import annotations

_RETRIES, _RUN_AT, _TIMEOUT, _CWD, _ENV = (
    f'ours is "{name}"' for name in ("max_retries", "run_at", "timeout", "cwd", "env")
)
_IN = '"run_at" is a time: for a delay, queuectl enqueue --in'
_ID = 'a job is named by its "id"'
_AFTER = 'ours are "after", "after_end" and "after_failed"'
_GROUP = 'ours is "group"'
_REPEATED = "a job runs once; for one that recurs: queuectl schedule add"
_RESOURCES = "limit what runs at once by queuectl group set GROUP limit=2, or worker start --count"
_LOG = "the output is in the job's log: queuectl logs ID"

FIELDS_HERE = {
    **dict.fromkeys(
        (
            "depends_on", "depends", "dependson", "dependency", "dependencies", "deps", "needs", "requires",
            "wait_for", "afterok", "after_ok", "afterany", "afternotok", "upstream", "parents", "parent",
        ),
        _AFTER,
    ),
    **dict.fromkeys(
        ("retries", "retry", "max_attempts", "attempts", "tries", "max_tries", "max_retry", "retry_count",
         "retry_limit", "backofflimit", "backoff_limit"),
        _RETRIES,
    ),
    **dict.fromkeys(
        ("retry_delay", "retry_backoff", "backoff", "retry_interval"), 'ours are "backoff_base" and "backoff_max"'
    ),
    **dict.fromkeys(
        ("queue", "queue_name", "partition", "pool", "topic", "channel", "exchange", "account", "qos"), _GROUP
    ),
    **dict.fromkeys(("name", "job_name", "jobname", "title", "job_id", "jobid", "jid", "task_id"), _ID),
    **dict.fromkeys(("tags", "tag", "label", "labels"), "it is kept with the job, and nothing looks at it"),
    **dict.fromkeys(("delay", "in", "countdown", "eta_seconds", "delay_seconds", "defer_by", "start_after"), _IN),
    **dict.fromkeys(
        ("at", "eta", "begin", "start", "start_at", "start_time", "when", "schedule_at", "scheduled_at",
         "scheduled_for", "not_before", "run_after", "defer_until", "time"),
        _RUN_AT,
    ),
    **dict.fromkeys(
        ("cron", "crontab", "schedule", "every", "interval", "repeat", "recurring", "rrule", "period", "periodic"),
        _REPEATED,
    ),
    **dict.fromkeys(
        ("time_limit", "timelimit", "walltime", "job_timeout", "soft_time_limit", "max_runtime", "execution_timeout",
         "ttl", "deadline", "timeout_seconds", "active_deadline_seconds"),
        _TIMEOUT,
    ),
    **dict.fromkeys(
        ("dir", "directory", "workdir", "work_dir", "working_dir", "working_directory", "workingdir", "chdir", "path",
         "pwd", "folder", "initialdir"),
        _CWD,
    ),
    **dict.fromkeys(
        ("environment", "environ", "env_vars", "envvars", "environment_variables", "vars", "variables"), _ENV
    ),
    **dict.fromkeys(
        ("cmd", "script", "run", "exec", "shell", "executable", "program", "entrypoint"), 'ours is "command"'
    ),
    **dict.fromkeys(("args", "argv", "arguments"), '"command" is the whole command: an array of strings'),
    **dict.fromkeys(("nice", "prio", "urgency", "importance", "weight"), 'ours is "priority", lower runs first'),
    **dict.fromkeys(
        ("unique_key", "unique_id", "singleton", "idempotency_key", "dedup_key", "queueing_lock", "lock"),
        'ours is "unique": of its key one job at a time waits or runs',
    ),
    **dict.fromkeys(
        ("gpu", "gpus", "gres", "mem", "memory", "resources", "requirements", "seat"),
        'ours is "seats", how many of each group: {"gpu": 2}',
    ),
    **dict.fromkeys(("cpus", "cpu", "cores", "threads", "nodes", "ntasks", "slot"), 'ours is "slots", of its worker'),
    **dict.fromkeys(
        ("concurrency", "parallel", "max_parallel", "limit"), _RESOURCES,
    ),
    **dict.fromkeys(("hold", "held", "stashed", "suspended", "paused"), "to hold a job: queuectl hold ID"),
    **dict.fromkeys(("stdout", "stderr", "output", "error", "log", "logfile", "log_file"), _LOG),
    **dict.fromkeys(("stdin", "input"), "a job's input is empty: let its command read a file"),
    **dict.fromkeys(("user", "uid", "username", "run_as"), "jobs run as the worker's user"),
    **dict.fromkeys(
        ("on_success", "on_failure", "on_error", "callback", "webhook", "notify", "notification", "mail", "mail_type"),
        "for all jobs there are hooks: hooks/on-done, hooks/on-dead",
    ),
}  # fmt: skip
"""By the name in lower case, with `_` for `-`."""
