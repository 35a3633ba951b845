"""Reads its own view with the libraries that everyone uses, and says what it found."""
import hashlib
import json
import os

import runpod
from huggingface_hub import scan_cache_dir, snapshot_download

HUB = "/runpod-volume/huggingface-cache/hub"


def handler(job):
    name = os.environ["MODEL_NAME"]
    hub = os.environ["HF_HUB_CACHE"] if job["input"].get("hub") == "environment" else HUB
    spellings = sorted(entry for entry in os.listdir(hub) if entry.startswith("models--"))
    folder = os.path.join(hub, "models--" + name.replace("/", "--"))
    with open(os.path.join(folder, "refs", "main"), encoding="utf-8") as ref:
        main = ref.read()
    snapshot = snapshot_download(name, local_files_only=True)
    files = {}
    for root, _, names in os.walk(snapshot):
        for file in names:
            path = os.path.join(root, file)
            with open(path, "rb") as stream:
                files[os.path.relpath(path, snapshot)] = hashlib.sha256(stream.read()).hexdigest()
    scan = scan_cache_dir()
    return {
        "main": main,
        "snapshot": os.path.basename(snapshot),
        "spellings": spellings,
        "files": files,
        "repos": sorted(repo.repo_id for repo in scan.repos),
        "warnings": [str(warning) for warning in scan.warnings],
        "environment": {
            key: value for key, value in os.environ.items()
            if key.startswith(("HF_", "MODEL_", "LARDER_", "RUNPOD_SKIP"))
        },
        "models": json.loads(os.environ["LARDER_MODELS"]),
    }


runpod.serverless.start({"handler": handler})
