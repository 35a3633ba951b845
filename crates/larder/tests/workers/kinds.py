"""Handlers of every kind, chosen by the environment: what the real SDK makes of each is the test's business."""
import os
import time

import runpod


def plain(job):
    text = job["input"]
    if isinstance(text, dict) and text.get("raise"):
        raise ValueError(text["raise"])
    if isinstance(text, dict) and text.get("error"):
        return {"error": text["error"]}
    if isinstance(text, dict) and "sleep" in text:
        runpod.serverless.progress_update(job, "half")
        time.sleep(text["sleep"])
    return {"echo": text, "pid": os.getpid()}


async def coroutine(job):
    return {"echo": job["input"]}


def generator(job):
    for number in range(job["input"]["count"]):
        yield {"number": number}


async def async_generator(job):
    for number in range(job["input"]["count"]):
        yield {"number": number}


HANDLERS = {
    "plain": plain,
    "coroutine": coroutine,
    "generator": generator,
    "async_generator": async_generator,
}

runpod.serverless.start({
    "handler": HANDLERS[os.environ.get("HANDLER", "plain")],
    "return_aggregate_stream": True,
})
