"""Content-addressed files: what was uploaded is named by its SHA-256."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from gateline.access import Permission
from gateline.kernel.errors import IntegrityFailure
from gateline.server.security import Application, permission

router = APIRouter(prefix="/files", tags=["files"])


@router.put("", status_code=201, openapi_extra=permission(Permission.DATASET_WRITE))
async def upload_file(
    app: Application, request: Request, x_gateline_sha256: Annotated[str, Header(pattern="^([0-9a-f]{64})?$")] = ""
) -> dict[str, Any]:
    """Store the raw body, received in pieces; with the header x-gateline-sha256, only when it has that digest."""
    with app.objects.receive() as file:
        async for piece in request.stream():
            await run_in_threadpool(file.write, piece)
        stored = await run_in_threadpool(app.objects.keep, file)
    if x_gateline_sha256 and stored.sha256 != x_gateline_sha256:
        raise IntegrityFailure(
            f"The upload arrived with SHA-256 {stored.sha256}; {x_gateline_sha256} was announced.",
            next_step="Send it again.",
            facts={"expected": x_gateline_sha256, "found": stored.sha256},
        )
    return {"sha256": stored.sha256, "size_bytes": stored.size_bytes}


@router.get("/{sha256}", openapi_extra=permission(Permission.DATASET_READ), response_class=FileResponse)
def download_file(app: Application, sha256: str) -> FileResponse:
    """Return the file's bytes after hashing them again."""
    return FileResponse(app.datasets.file_path(sha256), media_type="application/octet-stream", filename=sha256)
