"""Asks the hub as stock libraries do, and says what came of it."""
import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from urllib.parse import urlsplit

import runpod
from huggingface_hub import hf_hub_download, snapshot_download


def digests(folder):
    found = {}
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != ".cache"]
        for name in names:
            path = os.path.join(root, name)
            with open(path, "rb") as stream:
                found[os.path.relpath(path, folder)] = hashlib.sha256(stream.read()).hexdigest()
    return found


def environment(_):
    return {key: value for key, value in os.environ.items() if key.startswith(("HF_", "TRANSFORMERS_"))}


def snapshot(given):
    cache = tempfile.mkdtemp() if given.get("cache") == "fresh" else None
    path = snapshot_download(given["repo"], cache_dir=cache)
    return {"path": path, "files": digests(path)}


def file(given):
    path = hf_hub_download(given["repo"], given["file"], revision=given.get("revision"))
    with open(path, encoding="utf-8") as stream:
        return {"path": path, "text": stream.read()}


def cli(given):
    folder = tempfile.mkdtemp()
    command = [os.path.join(os.path.dirname(sys.executable), "hf"), "download", given["repo"], "--local-dir", folder]
    done = subprocess.run(command + given.get("more", []), capture_output=True, text=True)
    return {"code": done.returncode, "said": done.stderr[-2000:], "files": digests(folder)}


def tokenizer(given):
    import transformers

    begun = time.perf_counter()
    loaded = transformers.AutoTokenizer.from_pretrained(given["repo"])
    return {"seconds": time.perf_counter() - begun, "ids": loaded("the shelf")["input_ids"]}


def raw(given):
    """Asks addresses to the letter, as no library would."""
    own = urlsplit(os.environ["HF_ENDPOINT"])
    statuses = []
    for path in given["paths"]:
        asked = http.client.HTTPConnection(own.hostname, own.port, timeout=30)
        asked.request("GET", path.replace("OWN", own.path))
        statuses.append(asked.getresponse().status)
    return {"statuses": statuses}


ACTIONS = {
    "environment": environment, "snapshot": snapshot, "file": file, "cli": cli, "tokenizer": tokenizer, "raw": raw,
}


def handler(job):
    given = job["input"]
    begun = time.perf_counter()
    try:
        told = ACTIONS[given["do"]](given)
    except Exception as error:  # what a user of the library would see
        told = {"raised": type(error).__name__, "message": str(error)}
    return {**told, "took": time.perf_counter() - begun}


runpod.serverless.start({"handler": handler})
