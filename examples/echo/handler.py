"""A worker in ten lines: it gives back what it gets."""

import runpod


def handler(job):
    return {"you_said": job["input"]}


runpod.serverless.start({"handler": handler})
