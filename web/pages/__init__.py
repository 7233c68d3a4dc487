"""The page: HTML that the server writes, a little JavaScript, nothing from elsewhere."""

from __future__ import annotations

from fastapi import APIRouter

from web.pages.assets import router as assets
from web.pages.views import router as views

router = APIRouter(include_in_schema=False)
router.include_router(assets)
router.include_router(views)
