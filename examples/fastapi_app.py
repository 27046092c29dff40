"""Serves score.py with FastAPI. The middleware tells what a request is, also to the threads that work for it.

collectord serve &
uvicorn --app-dir examples --workers 2 fastapi_app:app
"""

from contextlib import asynccontextmanager

import score
from collectord_client.middleware import ASGIMiddleware
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool


@asynccontextmanager
async def lifespan(app):
    score.init()
    yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(ASGIMiddleware)


@app.post("/score")
async def run(request: Request):
    return await run_in_threadpool(score.run, (await request.body()).decode())
