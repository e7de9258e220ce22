"""The Hugging Face Hub as a place of saved classifiers."""

from __future__ import annotations

import re
from pathlib import Path

from chiqpm.errors import ChiqpmError
from chiqpm.sharing.folder import CALIBRATION, DESCRIPTION, METRICS, WEIGHTS

CARD = "README.md"
_FILES = (WEIGHTS, DESCRIPTION, CALIBRATION, METRICS)
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(name: str) -> bool:
    """Whether a text has the form of a model's name on the hub.

    >>> is_hub_id("somebody/birds"), is_hub_id("./runs/birds"), is_hub_id("runs/a/b"), is_hub_id("birds")
    (True, False, False, False)
    """
    return _HUB_ID.fullmatch(name) is not None


def locate(path: str | Path, *, revision: str | None = None) -> Path:
    """Return the folder of a classifier: `path` itself or, where there is none, what `fetch` gets under that name.

    Args:
        path: a folder, or the name of a model on the hub, `owner/name`. A folder of that name comes first.
        revision: branch, tag or commit on the hub; None takes the main branch.

    Raises:
        FileNotFoundError: as for `fetch`; a path that isn't there and is no such name is returned as it is.
        ChiqpmError: a revision of a folder.
    """
    folder = Path(path)
    if folder.exists():
        if revision is not None:
            raise ChiqpmError(f"{folder} is a folder here, and a folder has no revision {revision!r}; leave it out")
        return folder
    name = path if isinstance(path, str) else path.as_posix()
    return fetch(name, revision=revision) if is_hub_id(name) else folder


def fetch(repo_id: str, *, revision: str | None = None) -> Path:
    """Fetch the files of a classifier from the hub, or take them from the local cache where they haven't changed.

    Nothing but the four files of a saved classifier is fetched. `HF_ENDPOINT`, `HF_HOME`, `HF_TOKEN` and
    `HF_HUB_OFFLINE` are those of huggingface_hub.

    Args:
        repo_id: `owner/name`.
        revision: branch, tag or commit; None takes the main branch.

    Returns:
        The folder in the local cache.

    Raises:
        FileNotFoundError: no such model or revision, none of this kind, or no connection and nothing in the cache; the
            message says which.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    nowhere = f"there is no folder {repo_id}, and"
    try:
        folder = Path(snapshot_download(repo_id, revision=revision, allow_patterns=list(_FILES)))
    except HFValidationError as error:
        raise FileNotFoundError(f"{nowhere} it is no name of a model on the hub: {error}") from None
    except GatedRepoError:
        raise FileNotFoundError(
            f"{nowhere} the model {repo_id} on {hub} is gated: ask for access on its page, then `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise FileNotFoundError(
            f"{nowhere} {hub} has no model {repo_id} that you may read. Check the path or the name; for a private "
            "model, log in with `hf auth login` or set HF_TOKEN"
        ) from None
    except RevisionNotFoundError:
        raise FileNotFoundError(f"the model {repo_id} on {hub} has no revision {revision!r}") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FileNotFoundError(
            f"{nowhere} the model {repo_id} can't be fetched from {hub}, nor is it in the local cache "
            f"({constants.HF_HUB_CACHE}). Check the path, or the connection ({reason})"
        ) from None
    for name in (DESCRIPTION, WEIGHTS):
        if not (folder / name).exists():
            raise FileNotFoundError(f"the model {repo_id} on {hub} is no chiqpm classifier: {name} is missing")
    return folder


def push(
    folder: Path,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    token: str | None = None,
    message: str = "Upload a chiqpm classifier",
) -> str:
    """Upload the files of a saved classifier and its card; make the repository if there is none.

    Args:
        folder: what `write_folder` and `write_card` wrote.
        repo_id: `owner/name`.
        private: make a new repository private.
        revision: branch; None takes the main one, another is made if need be.
        token: access token; None takes the one that is logged in.
        message: of the commit.

    Returns:
        Address of the commit.

    Raises:
        ChiqpmError: the name has another form, or the hub refuses: no login, no right to write.
        ConnectionError: the hub can't be reached.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    if not is_hub_id(repo_id):
        raise ChiqpmError(f"a model on the hub is called 'owner/name', received {repo_id!r}")
    api = HfApi(library_name="chiqpm", token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=message,
            allow_patterns=[*_FILES, CARD],
        )
    except HfHubHTTPError as error:
        reason = str(error).strip().splitlines()[0]
        raise ChiqpmError(
            f"{constants.ENDPOINT} refuses to store {repo_id} ({reason}); log in with `hf auth login` as someone who "
            "may write there, or give a token"
        ) from None
    except Exception as error:
        # The library that speaks HTTP has errors of its own; which one it is, its version decides.
        if not type(error).__module__.startswith(("httpx", "requests")):
            raise
        raise ConnectionError(f"{constants.ENDPOINT} can't be reached to store {repo_id} ({error})") from None
    return str(commit.commit_url)
