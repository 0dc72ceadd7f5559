"""Changes a JSON object by a merge patch, RFC 7396: what a patch of a memory does to its payload."""

import json
from typing import Any


def merge_patch(target: str, patch: str) -> str:
    """Return a JSON object changed by a merge patch (RFC 7396), both as text."""
    return json.dumps(_merged(json.loads(target), json.loads(patch)), ensure_ascii=False)


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), value)
    return result
