"""Swagger UI, served without any other host."""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

PATH = "/docs"
_ASSETS = f"{PATH}/assets"


def add_docs_page(application: FastAPI) -> None:
    """Serve Swagger UI under /docs, with the files that come in `fastapi-offline`."""
    folder = Path(str(files("fastapi_offline"))) / "static"
    application.mount(_ASSETS, StaticFiles(directory=folder), name="docs-assets")

    @application.get(PATH, include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        return get_swagger_ui_html(
            openapi_url=f"{root}{application.openapi_url}",
            title=application.title,
            swagger_js_url=f"{root}{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{_ASSETS}/favicon.png",
        )
