"""The whole loop for folders that arrive: update, gate, promotion, record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from fakemedia.context.context import Context
from fakemedia.core.errors import MachineError, UserError
from fakemedia.pipelines.promotion.nodes import run_gate
from fakemedia.pipelines.update.nodes import (
    Champion,
    check_task,
    gather_earlier,
    index_folder,
    learn_task,
    open_champion,
    plan_task,
    register_candidate,
    store_folder,
    updating,
)
from fakemedia.registry.client import Registry
from fakemedia.registry.gate_statistics import PASS
from fakemedia.registry.promotion import promote, settle
from fakemedia.registry.update_config import UpdateConfig
from fakemedia.registry.update_record import (
    PROMOTED,
    REFUSED,
    Outcome,
    files_fingerprint,
    learned_version,
    outcomes,
    record_outcome,
    was_promoted,
)
from fakemedia.registry.versions import Version

logger = logging.getLogger(__name__)
Ready = Callable[[str, str], bool]


def watch_once(context: Context, incoming: Path, by: str, ready: Ready = lambda task, files: True) -> Iterator[Outcome]:
    """Take each new folder in `incoming` through the loop, and yield its outcome.

    A folder's name is its task's. One whose files are recorded is done; after a kill at any point the next call resumes
    from what the registry holds. `ready` says, by task and `files_fingerprint`, whether a folder is complete. UserError
    without a champion, and if `incoming` is no folder; the champion is then untouched. An error of one folder that is
    no refusal, such as an earlier task without its pictures, is raised when the others are done.
    """
    if not incoming.is_dir():
        raise UserError("The folder to watch does not exist", where=incoming, expected="a folder of folders, one for "
                        "each new task")
    registry, first_error = open_champion(context=context).registry, None
    for folder in sorted(path for path in incoming.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = files_fingerprint(folder)
        done = any((outcome.task, outcome.files) == (folder.name, files) for outcome in outcomes(registry))
        if not done and ready(folder.name, files):
            try:
                with updating(context):
                    outcome = take(context, folder, files, by)
                    record_outcome(registry, outcome)
            except MachineError:
                raise
            except UserError as error:
                first_error = first_error or error
            else:
                yield outcome
    if first_error is not None:
        raise first_error


def take(context: Context, folder: Path, files: str, by: str) -> Outcome:
    """Take one folder through the loop, from where an interrupted call stopped; return its outcome.

    A folder that cannot be learned is REFUSED with the reason. Other errors, such as a full disk, are raised: the next
    call tries again.
    """
    champion = open_champion(context=context)
    registry = champion.registry
    with registry.changing():
        settle(registry)
    request = UpdateConfig(task=folder.name, data=str(folder.resolve()))
    try:
        is_learned = folder.name in champion.version.facts.tasks
        plan = None if is_learned else plan_task(request, champion, context=context)
        index = index_folder(request, champion, plan, context=context)
        stores = store_folder(request, champion, index, context=context)
        version = learned_version(registry, folder.name, stores["train"].fingerprint, champion.version)
        plan = plan or (None if version else plan_task(request, champion, context=context))
    except MachineError:
        raise
    except UserError as error:
        return _refused(folder, files, error)
    if version is None:
        earlier = gather_earlier(champion, context=context)
        try:
            check_task(champion, stores, earlier, context=context)
        except MachineError:
            raise
        except UserError as error:
            return _refused(folder, files, error)
        assert plan is not None
        version = register_candidate(champion, learn_task(plan, champion, stores, earlier, context=context),
                                     context=context)
    return _judged(context, registry, champion, version, folder.name, files, by)


def _refused(folder: Path, files: str, error: UserError) -> Outcome:
    return Outcome(task=folder.name, files=files, outcome=REFUSED, version=None, reason=str(error))


def _judged(context: Context, registry: Registry, champion: Champion, version: Version, task: str, files: str,
            by: str) -> Outcome:
    """Gate and promote `version`, unless that has been done."""
    outcome, reason = PROMOTED, ""
    if version.number != champion.version.number and version.number not in was_promoted(registry):
        report, path = run_gate(context, str(version.number))
        if report["outcome"] == PASS:
            promote(registry, version, by=by, gate=path)
        else:
            outcome, reason = report["outcome"], "; ".join(report["reasons"])
    return Outcome(task=task, files=files, outcome=outcome, version=version.number, reason=reason)
