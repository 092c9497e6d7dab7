"""Keys: the name of an artifact, known before anything runs.

``stage-sha256(name, version, schema of the output, all parameters, keys of the inputs)``,
cut to 96 bits. Planning, caching, resuming and provenance all rest on it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.stage import Stage
    from storage_schemas.manifest import Manifest

KEY_CONTEXT = {"for_key": True}


def parameters_of(stage: Stage) -> dict[str, Any]:
    """Every parameter, resolved, as JSON values; what the key is made from."""
    return stage.model_dump(mode="json", context=KEY_CONTEXT)


def artifact_key(stage: Stage, inputs: Mapping[str, Sequence[str]]) -> str:
    """Key of what `stage` makes of the artifacts named by `inputs` (role -> keys)."""
    return digest_key(
        stage.name,
        {
            "version": stage.version,
            "schema": [stage.output.name, stage.output.version],
            "parameters": parameters_of(stage),
            "inputs": {role: list(keys) for role, keys in sorted(inputs.items())},
        },
    )


def key_of(manifest: Manifest) -> str:
    """The key that an artifact computed as the manifest says must have.

    Source videos and labels have keys of their content instead (`pipeline.expand`).
    """
    return digest_key(
        manifest.stage,
        {
            "version": manifest.stage_version,
            "schema": [manifest.noun, manifest.noun_version],
            "parameters": manifest.parameters,
            "inputs": {role: list(keys) for role, keys in sorted(manifest.inputs.items())},
        },
    )


def digest_key(name: str, content: Any) -> str:
    """``name-`` and 24 hex digits of the SHA-256 of the canonical JSON of `content`."""
    text = json.dumps([name, content], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"
