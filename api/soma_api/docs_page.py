"""Swagger UI, served without any other host."""

import re
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from soma_api.security_headers import policy_of_page

PATH = "/docs"
_ASSETS = f"{PATH}/assets"
_SCRIPT = re.compile("<script>(.*?)</script>", re.DOTALL)


def add_docs_page(application: FastAPI) -> None:
    """Serve Swagger UI under /docs, with the files that come in `fastapi-offline`."""
    folder = Path(str(files("fastapi_offline"))) / "static"
    application.mount(_ASSETS, StaticFiles(directory=folder), name="docs-assets")

    @application.get(PATH, include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root = request.scope.get("root_path", "")
        page = get_swagger_ui_html(
            openapi_url=f"{root}{application.openapi_url}",
            title=application.title,
            swagger_js_url=f"{root}{_ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{_ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{_ASSETS}/favicon.png",
        )
        (script,) = _SCRIPT.findall(bytes(page.body).decode())
        page.headers["Content-Security-Policy"] = policy_of_page(script)
        return page
