"""Files from the model hub, or from its local cache where no hub answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emolib.base.errors import UserError, shown

TIMEOUT = 5.0


def snapshot(repo: str, revision: str, wanted: Sequence[str], *, otherwise: str) -> tuple[Path, str]:
    """The folder with a repository's files at a revision, and the commit that it resolved to.

    Args:
        wanted: patterns of file names; nothing else is fetched.
        otherwise: what a user without a hub can do instead; the end of the error's line.

    Raises:
        UserError: the repository is gated or unknown, or no hub answers and the local cache does not hold it.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        commit = HfApi().model_info(repo, revision=revision, timeout=TIMEOUT).sha or revision
        return Path(snapshot_download(repo, revision=commit, allow_patterns=list(wanted))), commit
    except GatedRepoError as error:
        raise UserError(
            f"{repo} is gated: accept its licence on its hub page, then run `hf auth login` (or set HF_TOKEN)"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(
            f"the hub has no model {shown(repo)} at revision {shown(revision)} (or no access without login)"
        ) from error
    except (HfHubHTTPError, OSError, RuntimeError) as error:
        reason = type(error).__name__
    except Exception as error:  # the HTTP client's own errors have no common base across its versions
        if "httpx" not in type(error).__module__ and "hub" not in type(error).__module__:
            raise
        reason = type(error).__name__
    try:
        # the same patterns: a cache that holds what was wanted then lacks other files of the repository
        cached = snapshot_download(repo, revision=revision, allow_patterns=list(wanted), local_files_only=True)
        folder = Path(cached)
        return folder, folder.name
    except Exception as error:
        raise UserError(
            f"no hub answered ({reason}) and {repo} is not in the local cache; connect, or pass a local folder, "
            f"or {otherwise}"
        ) from error
