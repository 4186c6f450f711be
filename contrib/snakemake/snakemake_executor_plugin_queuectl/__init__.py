"""The executor plugin `queuectl` of Snakemake: a workflow's jobs as jobs of a spool.

Jobs are submitted in bulk. Each is a future, and the thread that Snakemake gives an executor sleeps until one has
ended.
"""

import asyncio
import hashlib
import os
import re
import secrets
import shlex
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Optional

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface
from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from queuectl import Job, JobFuture, QueuectlError, Spool, SpoolExecutor, State

_LONGEST = 100_000
"""Bytes of a command that the kernel takes as one argument of a shell, with room to spare (128 KiB on Linux)."""
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV", "LANG", "LC_ALL", "TMPDIR", "XDG_CACHE_HOME")
"""Variables that a job gets from Snakemake and not from its worker, with all that begin with CONDA."""


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """What can be said on Snakemake's command line, as `--queuectl-NAME`."""

    spool: Optional[str] = field(  # noqa: UP045 - Snakemake takes no other union
        default=None, metadata={"help": "The directory of the spool; by default that which the command queuectl finds."}
    )
    group: str = field(
        default="snakemake", metadata={"help": "The group of the workflow's jobs; those of a rule are in GROUP.RULE."}
    )
    priority: int = field(
        default=100,
        metadata={"help": "The priority in the queue, where lower runs first, of a job of priority 0 in Snakemake."},
    )


common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,  # they are in the job's env
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):  # type: ignore[misc] # the interface has no types
    """Submits jobs in bulk, follows them as futures, and cancels what is left when the workflow is interrupted."""

    def __init__(self, workflow: Any, logger: Any) -> None:
        # Before the rest: the interface starts its thread, which checks at once, before it calls __post_init__.
        self._run = secrets.token_hex(3)
        self._futures: dict[str, JobFuture] = {}
        self._open: set[str] = set()  # the ids of all that may be in the queue and has not ended
        self._has_ended = threading.Event()
        super().__init__(workflow, logger)

    def __post_init__(self) -> None:
        settings = self.workflow.executor_settings
        try:
            self.spool = Spool(settings.spool)
        except QueuectlError as error:
            raise WorkflowError(str(error)) from error
        self._executor = SpoolExecutor(self.spool)

    # --- submitting

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Submit jobs that are ready, in groups that are synced together; those that still run are followed."""
        new: list[JobExecutorInterface] = []
        before = self._find_earlier(jobs)
        for job in jobs:
            self.run_job_pre(job)
            if job in before:
                self.logger.info(f"Job {job.jobid} is in the queue already, as {before[job].id}.")
                self._follow(job, before[job])
            else:
                new.append(job)
        slots = max((worker["slots"] for worker in self.spool.workers() if worker.get("alive")), default=None)
        bodies = [self._body(job, slots) for job in new]
        ids = [f"{body['group']}.{body['id']}" for body in bodies]
        with self.lock:
            self._open.update(ids)  # before they are submitted: Ctrl-C may come in between
        for job, id, outcome in zip(new, ids, self._submit(bodies), strict=True):
            if isinstance(outcome, Job):
                self._follow(job, outcome)
            else:
                with self.lock:
                    self._open.discard(id)
                self.report_job_error(SubmittedJobInfo(job), msg=f"It could not be queued: {outcome}. ")

    def run_job(self, job: JobExecutorInterface) -> None:
        self.run_jobs([job])

    def _submit(self, bodies: list[dict[str, Any]]) -> list[Job | QueuectlError]:
        outcomes: list[Job | QueuectlError] = []
        try:
            outcomes.extend(self.spool.enqueue_many(bodies))
        except QueuectlError as error:  # the spool takes no more: of none of the rest
            outcomes += [error] * (len(bodies) - len(outcomes))
        return outcomes

    def _find_earlier(self, jobs: list[JobExecutorInterface]) -> dict[JobExecutorInterface, Job]:
        """The jobs that an earlier run has submitted and that still wait or run, by one listing.

        Snakemake's own record of the ids does not do: the Snakemake of a job that has started clears it (9.27).
        """
        by_mark = {_mark(job): job for job in jobs}

        def is_earlier(name: Any) -> bool:
            words = name.id.rpartition(".")[2].split("-")
            return len(words) == 3 and words[0] in by_mark and words[1] != self._run

        found = self.spool.list((State.PENDING, State.RUNNING), where=is_earlier)
        return {by_mark[job.id.rpartition(".")[2].split("-")[0]]: job for job in found}

    def _body(self, job: JobExecutorInterface, slots: int | None) -> dict[str, Any]:
        settings = self.workflow.executor_settings
        rule = job.groupid if job.is_group() else job.name
        group = job.resources.get("queuectl_group") or f"{settings.group}.{_as_name(rule)}"
        runtime = job.resources.get("runtime")
        kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("CONDA")}
        return {
            "id": f"{_mark(job)}-{self._run}-{job.attempt}",
            "group": group,
            "command": self._command(job),
            "cwd": os.getcwd(),
            "env": {**kept, **self.envvars()},
            "priority": min(999, max(0, settings.priority - job.priority)),
            "slots": min(job.threads, slots or job.threads) if job.threads > 1 else None,
            "timeout": runtime * 60 if isinstance(runtime, int | float) and runtime > 0 else None,
            "max_retries": 0,  # Snakemake retries, as its --retries and the rule say
            "snakemake": {"rule": rule},
        }

    def _command(self, job: JobExecutorInterface) -> str:
        # A worker may have been started where this is set; the Snakemake of a job takes no profile.
        command = f"unset SNAKEMAKE_PROFILE; {self.format_job_exec(job)}"
        if len(command.encode()) < _LONGEST:
            return command
        script = self.get_jobscript(job)
        self.write_jobscript(job, script)
        return f"unset SNAKEMAKE_PROFILE; exec {shlex.quote(script)}"

    def _follow(self, job: JobExecutorInterface, queued: Job) -> None:
        future = self._executor.follow(queued)
        with self.lock:
            self._futures[future.id] = future
            self._open.add(future.id)
        self.report_job_submission(SubmittedJobInfo(job, external_jobid=future.id))
        future.add_done_callback(lambda _: self._has_ended.set())

    # --- following

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report those that have ended, and yield the others. The futures know; one listing for all says so as well if
        none has ended for the longest time."""
        if active_jobs and not self._has_ended.is_set():
            await asyncio.to_thread(self._look, [info.external_jobid for info in active_jobs])
        self._has_ended.clear()
        for info in active_jobs:
            future = self._futures[info.external_jobid]
            if not future.done():
                yield info
                continue
            with self.lock:
                del self._futures[info.external_jobid]
                self._open.discard(info.external_jobid)
            why = _why(future)
            if why is None:
                self.report_job_success(info)
            else:
                log = str(self.spool.log_path(future.id))
                self.report_job_error(info, msg=f"Job {future.id} of the queue {why}. ", aux_logs=[log])

    def _look(self, ids: list[str]) -> None:
        for id, job in self.spool.states(ids).items():
            if job is not None and job.state in (State.DONE, State.DEAD):
                self._futures[id].settle(job)

    async def sleep(self) -> None:
        """Until a job has ended; --seconds-between-status-checks is the longest time."""
        await asyncio.to_thread(self._has_ended.wait, self.next_seconds_between_status_checks)

    # --- ending

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel all that has not ended, also what is just being submitted or checked and not among `active_jobs`."""
        with self.lock:
            ids = list(self._open)
        try:
            outcomes = self.spool.cancel_all(ids)
        except QueuectlError as error:
            self.logger.error(f"The jobs in the queue could not be cancelled: {error}")
            return
        number = sum(isinstance(outcome, Job) for outcome in outcomes.values())
        self.logger.info(f"Cancelled {number} jobs in the queue.")

    def shutdown(self) -> None:
        with self.lock:
            self.wait = False
        self._has_ended.set()
        super().shutdown()
        self._executor.shutdown(wait=False)


def _why(future: JobFuture) -> str | None:
    """How a job failed; None if it did not."""
    if future.cancelled():
        return "was cancelled"
    error = future.exception()
    if error is None:
        return None
    lines = [line for line in str(error).splitlines() if not line.startswith("see:")]
    return ": ".join(lines).removeprefix(f"job {future.id} ")


def _mark(job: JobExecutorInterface) -> str:
    """What tells a job of a workflow from others, in every run: its rules and wildcards, in this directory."""
    return hashlib.sha256(f"{os.getcwd()}\0{job.get_target_spec()}".encode()).hexdigest()[:12]


def _as_name(text: str) -> str:
    """A rule's name as a part of an id."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:40].strip("_-") or "x"
