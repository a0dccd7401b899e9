"""Execute a lab without a browser and keep what it found: a notebook, a page that opens offline, the readings.

The three files appear together or not at all. A run that is interrupted, or whose kernel dies, leaves the files
of the run before it as they were.
"""

from __future__ import annotations

import ast
import contextlib
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgelab.course import build, copies, paths, results
from edgelab.course.kernel import Watch, manager_class, quiet_loggers
from edgelab.course.labs import Lab, find
from edgelab.course.results import CLAIM_MIME
from edgelab.course.session import left_out
from edgelab.course.source import cells_of, read_notebook
from edgelab.errors import BadFile, BadInput, EdgelabError, LabError
from edgelab.files import expanded, refuse_to_replace, write_json
from edgelab.reading import READING_MIME

CHECK_MIME = "application/vnd.edgelab.check+json"
_STALE_SECONDS = 86_400


@dataclass(frozen=True)
class RunResult:
    """What a run of a lab left behind.

    ``ok``: every cell ran and, in a solution, every check passed. ``mine``: it was the learner's notebook, not the
    solution. ``left_out`` are sentences on optional frameworks that are missing, ``trouble`` one on why the verdicts
    could not be kept for `edgelab claims`. ``seconds`` of wall time include the kernel's start.
    ``peak_memory_bytes`` as `edgelab.course.kernel.Watch` explains it.
    """

    lab: str
    ok: bool
    seconds: float
    notebook: Path
    html: Path
    readings: tuple[dict[str, Any], ...]
    checks: tuple[dict[str, Any], ...]
    claims: tuple[dict[str, Any], ...]
    peak_memory_bytes: int = 0
    mine: bool = False
    left_out: tuple[str, ...] = ()
    trouble: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The run as JSON-ready data: lab, mine, ok, seconds, notebook, html, readings, checks, claims."""
        return {
            "lab": self.lab,
            "mine": self.mine,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "notebook": str(self.notebook),
            "html": str(self.html),
            "readings": list(self.readings),
            "checks": list(self.checks),
            "claims": list(self.claims),
        }

    def __str__(self) -> str:
        passed = sum(check["passed"] for check in self.checks)
        memory = f"{self.peak_memory_bytes / 2**30:.2f} GB at the peak"
        counts = f"{passed} of {len(self.checks)} checks passed, {len(self.readings)} readings"
        lines = [
            f"{self.lab}, {'your notebook' if self.mine else 'the solution'}: {self.seconds:.1f} s, {memory}, {counts}",
            *(f"  {claim['id']} {claim['verdict']}: {claim['claim']}" for claim in self.claims),
            f"  notebook  {paths.shown(self.notebook)}",
            f"  page      {paths.shown(self.html)}",
            *(f"  {sentence}" for sentence in self.left_out),
            *([] if self.mine else [f"  This ran the solution; `edgelab run {self.lab} --mine` runs your notebook."]),
            *([self.trouble] if self.trouble else []),
        ]
        return "\n".join(lines)


def run_lab(
    name: str,
    parameters: Mapping[str, str] | None = None,
    *,
    mine: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> RunResult:
    """Execute a lab's solution, or with ``mine`` the learner's own notebook.

    Parameters
    ----------
    name
        The lab, as `edgelab.course.labs.find` takes it.
    parameters
        New values, as text, for names in the lab's parameters cell.
    mine
        Run ``labs/NN_slug.ipynb`` as it is, and count its checks in the learner's progress.
    out
        The folder for ``SLUG.ipynb``, ``SLUG.html`` and ``SLUG.json``, beside whatever else it holds; ``runs/SLUG``,
        whose last results each run replaces, without it.
    overwrite
        Replace these files in ``out`` if they are there.
    progress
        Show a progress bar over the cells on standard error.

    Raises
    ------
    BadInput
        If a parameter is unknown or its value has another type.
    LabError
        If there is no such lab, a cell raised, the kernel died, or the run was interrupted.
    BadFile
        If the results cannot be written.
    """
    lab = find(name)
    notebook = read_notebook(copies.learners(lab)) if mine else build.solution(lab)
    values = parse_parameters(lab, notebook, parameters or {})
    folder = (paths.runs() / lab.slug) if out is None else expanded(out).resolve()
    paths.ready(folder, *([] if out is None else ["choose another folder with --out"]))
    if out is not None:
        for ending in ("ipynb", "html", "json", "failed.ipynb"):
            refuse_to_replace(folder / f"{lab.slug}.{ending}", overwrite=overwrite)
    environment = {"EDGELAB_HOME": str(paths.home()), **({} if mine else {"EDGELAB_PROGRESS": "off"})}
    with _staging(folder, lab) as staged:
        draft = staged / f"{lab.slug}.ipynb"
        started = time.perf_counter()
        peak = _execute(lab, notebook, draft, values, environment, progress=progress)
        seconds = time.perf_counter() - started
        executed = _finish(draft, seconds, peak)
        from edgelab.course.export import to_html

        to_html(draft, staged / f"{lab.slug}.html")
        found = collect(executed)
        result = RunResult(
            lab=lab.slug,
            ok=mine or all(check["passed"] for check in found["checks"]),
            seconds=seconds,
            notebook=folder / f"{lab.slug}.ipynb",
            html=folder / f"{lab.slug}.html",
            readings=found["readings"],
            checks=found["checks"],
            claims=found["claims"],
            peak_memory_bytes=peak,
            mine=mine,
            left_out=tuple(left_out(lab)),
        )
        write_json(staged / f"{lab.slug}.json", result.to_dict())
        for ending in ("ipynb", "html", "json"):
            (staged / f"{lab.slug}.{ending}").replace(folder / f"{lab.slug}.{ending}")
        (folder / f"{lab.slug}.failed.ipynb").unlink(missing_ok=True)
    try:
        results.add(lab.slug, "edgelab run --mine" if mine else "edgelab run", claims=result.claims)
    except EdgelabError as error:
        return replace(result, trouble=f"The verdicts were not kept for `edgelab claims`: {error}")
    return result


def collect(notebook: Any) -> dict[str, tuple[dict[str, Any], ...]]:
    """Readings, checks and claims that an executed notebook holds; of two with one name, the later."""
    kinds = {"readings": (READING_MIME, "name"), "checks": (CHECK_MIME, "id"), "claims": (CLAIM_MIME, "id")}
    found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in kinds}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", ()):
            for kind, (mime, key) in kinds.items():
                payload = output.get("data", {}).get(mime)
                if payload is not None:
                    found[kind][payload[key]] = json.loads(json.dumps(payload))
    return {kind: tuple(by_name.values()) for kind, by_name in found.items()}


def parse_parameters(lab: Lab, notebook: Any, given: Mapping[str, str]) -> dict[str, Any]:
    """The values of ``given`` in the types of the defaults in the lab's parameters cell.

    Raises
    ------
    BadInput
        If a name is not in that cell, or a value is not of its default's type.
    """
    defaults = _defaults(notebook)
    values = {}
    for name, text in given.items():
        if name not in defaults:
            known = ", ".join(defaults) or "none"
            raise BadInput(f"The lab '{lab.slug}' has no parameter '{name}'; its parameters are {known}.")
        default = defaults[name]
        try:
            values[name] = _value(text, default)
        except (ValueError, SyntaxError):
            kind = type(default).__name__
            raise BadInput(f"The parameter '{name}' of '{lab.slug}' takes {kind} values, not '{text}'.") from None
    return values


def _defaults(notebook: Any) -> dict[str, Any]:
    cell = next((cell for cell in cells_of(notebook) if "parameters" in cell.tags), None)
    tree = cell.tree() if cell is not None else None
    found: dict[str, Any] = {}
    for node in tree.body if tree is not None else ():
        names = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in names:
            if isinstance(target, ast.Name):
                found[target.id] = None
                with contextlib.suppress(ValueError, TypeError):
                    found[target.id] = ast.literal_eval(node.value)  # type: ignore[attr-defined]
    return found


def _value(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        words = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
        if text.casefold() not in words:
            raise ValueError
        return words[text.casefold()]
    if isinstance(default, int | float):
        return type(default)(text)
    value = ast.literal_eval(text)
    if default is not None and not isinstance(value, type(default)):
        raise ValueError
    return value


def _execute(
    lab: Lab, notebook: Any, draft: Path, values: Mapping[str, Any], environment: Mapping[str, str], *, progress: bool
) -> int:
    """Run all cells and write the executed notebook to ``draft``; the peak memory in bytes."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    watch = Watch()
    cell_number = [0]
    total = len(notebook["cells"]) + bool(values)  # papermill adds a cell for the parameters

    def starts(cell: Any, cell_index: int) -> None:  # noqa: ARG001  nbclient passes both by name
        cell_number[0] = cell_index + 1

    bar = {
        "desc": lab.slug,
        "file": sys.stderr,
        "leave": False,
        "bar_format": "{desc}: {percentage:3.0f}%|{bar}| cell {n_fmt} of {total_fmt} [{elapsed}]",
    }
    with tempfile.TemporaryFile() as words, quiet_loggers():
        try:
            papermill.execute_notebook(
                notebook,
                draft,
                parameters=dict(values),
                kernel_name="python3",
                progress_bar=bar if progress else False,
                request_save_on_cell_execute=False,
                kernel_manager_class=manager_class(watch, environment, words),
                on_cell_start=starts,
                shutdown_kernel="immediate",
                store_widget_state=False,
            )
        except papermill.PapermillExecutionError as error:
            kept = _keep_failed(lab, draft)
            raise LabError(
                f"The lab '{lab.slug}' stopped in cell {error.cell_index + 1} of {total} "
                f"({error.ename}: {_first_line(error.evalue)}); {kept}"
            ) from error
        except KeyboardInterrupt:
            raise LabError(
                f"The run of '{lab.slug}' was interrupted in cell {cell_number[0]} of {total}; nothing was written."
            ) from None
        except (DeadKernelError, RuntimeError) as error:
            words.seek(0)
            said = words.read().decode(errors="replace").strip().splitlines()
            reason = f" (its last words: {said[-1][:200]})" if said else ""
            raise LabError(
                f"The kernel of '{lab.slug}' died in cell {cell_number[0]} of {total}{reason}; nothing was written."
            ) from error
        finally:
            watch.stop()
    return watch.peak_bytes


def _finish(draft: Path, seconds: float, peak: int) -> Any:
    """Put what was measured about the run into the executed notebook, and this machine's paths out of it."""
    import nbformat

    notebook = nbformat.read(draft, as_version=4)
    notebook["metadata"].pop("papermill", None)
    notebook["metadata"].setdefault("edgelab", {})["run"] = {
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak,
        "peak_memory_by": "resident memory of the kernel and its child processes, summed, sampled every 0.5 s",
    }
    nbformat.write(notebook, draft)
    return notebook


def _keep_failed(lab: Lab, draft: Path) -> str:
    kept = draft.parent.parent / f"{lab.slug}.failed.ipynb"
    with contextlib.suppress(OSError):
        draft.replace(kept)
        return f"the notebook up to there is {paths.shown(kept)}."
    return "nothing was written."


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0][:300] if lines else "no message"


@contextlib.contextmanager
def _staging(folder: Path, lab: Lab) -> Iterator[Path]:
    """A folder inside ``folder`` for files that are not whole yet; it is gone afterwards."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f".{lab.slug}.*.part"):
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:  # of a run that was killed, not of one that runs
                shutil.rmtree(left, ignore_errors=True)
        staged = Path(tempfile.mkdtemp(prefix=f".{lab.slug}.", suffix=".part", dir=folder))
    except OSError as error:
        raise BadFile(f"{folder} cannot be written ({error.strerror or error}).") from error
    try:
        yield staged
    except OSError as error:
        if isinstance(error, EdgelabError):
            raise
        raise BadFile(
            f"The results of '{lab.slug}' could not be written to {folder} ({error.strerror or error})."
        ) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)
