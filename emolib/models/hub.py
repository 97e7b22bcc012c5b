"""Files from the model hub, or from its local cache where no hub answers."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from emolib.base.errors import UserError, shown
from emolib.base.writing import SHUT, TROUBLES

TIMEOUT = 5.0
COMMIT = re.compile("[0-9a-f]{40}")


def snapshot(repo: str, revision: str, wanted: Sequence[str], *, otherwise: str) -> tuple[Path, str]:
    """The folder with a repository's files at a revision, and the commit that it resolved to.

    Args:
        wanted: patterns of file names; nothing else is fetched.
        otherwise: what a user without a hub can do instead; the end of the error's line.

    Raises:
        UserError: the repository is gated or unknown, or no hub answers and the local cache does not hold it.
    """

    def fetch(api: Any) -> Path:
        api.model_info(repo, revision=revision, timeout=TIMEOUT)
        # by the revision's own name, so that the local cache knows which commit it was when no hub answers
        return _downloaded(repo, revision, wanted)

    # the same patterns: a cache that holds what was wanted then lacks other files of the repository
    folder = _asked(repo, revision, fetch, lambda: _downloaded(repo, revision, wanted, offline=True), otherwise)
    return folder, folder.name


def commit(repo: str, revision: str, *, otherwise: str) -> str:
    """The commit that a revision is now, as the hub says, or as the local cache says where no hub answers.

    Args:
        otherwise: the end of the error's line.

    Raises:
        UserError: as `snapshot`.

    >>> commit("owner/model", "0123456789abcdef0123456789abcdef01234567", otherwise="")
    '0123456789abcdef0123456789abcdef01234567'
    """
    if COMMIT.fullmatch(revision):  # which never moves
        return revision

    def ask(api: Any) -> str:
        return api.model_info(repo, revision=revision, timeout=TIMEOUT).sha or revision

    return _asked(
        repo, revision, ask, lambda: _downloaded(repo, revision, ["config.json"], offline=True).name, otherwise
    )


def _downloaded(repo: str, revision: str, wanted: Sequence[str], *, offline: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repo, revision=revision, allow_patterns=list(wanted), local_files_only=offline))


def _asked(repo: str, revision: str, online: Callable[[Any], Any], offline: Callable[[], Any], otherwise: str) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return online(HfApi())
    except GatedRepoError as error:
        raise UserError(
            f"{repo} is gated: accept its licence on its hub page, then run `hf auth login` (or set HF_TOKEN)"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(
            f"the hub has no model {shown(repo)} at revision {shown(revision)} (or no access without login)"
        ) from error
    except (HfHubHTTPError, OSError, RuntimeError) as error:
        _refuse_disk(repo, error)
        reason = type(error).__name__
    except Exception as error:  # the HTTP client's own errors have no common base across its versions
        if "httpx" not in type(error).__module__ and "hub" not in type(error).__module__:
            raise
        reason = type(error).__name__
    try:
        return offline()
    except Exception as error:
        raise UserError(
            f"no hub answered ({reason}) and {repo} is not in the local cache; connect, or pass a local folder, "
            f"or {otherwise}"
        ) from error


def _refuse_disk(repo: str, error: Exception) -> None:
    """Raises `UserError` where it was the disk that kept the files from being stored, not the hub."""
    number = error.errno if isinstance(error, OSError) else None
    if number in TROUBLES or (number in SHUT and isinstance(error, OSError) and error.filename):
        raise UserError(
            f"expected room for the files of {repo} in the hub's cache, got: {os.strerror(number)}; free some space or "
            "point HF_HOME elsewhere, then run it again"
        ) from error


def holds(repo: str) -> bool:
    """Whether the hub, or its local cache where no hub answers, has a repository of that name."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError

    try:
        HfApi().model_info(repo, timeout=TIMEOUT)
    except GatedRepoError:
        return True
    except Exception:  # whatever kept it from answering
        return isinstance(try_to_load_from_cache(repo, "config.json"), str)
    return True
