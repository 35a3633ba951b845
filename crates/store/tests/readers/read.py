"""Reads a worker's view with whatever huggingface_hub is on the path, and says what came of each call.

Arguments: the repository, its commit, and `offline`, `down` (online, with a hub that does not answer), `down-pinned` (the
same, without the call that majors below 1 repeat for 23 seconds) or `transformers`.
"""
import json
import sys
import time

repo, commit, mode = sys.argv[1:]
answers, seconds = {}, {}


def ask(name, call):
    begun = time.monotonic()
    try:
        answers[name] = call()
    except Exception as error:  # Every kind is an answer of its own.
        answers[name] = type(error).__name__
    seconds[name] = round(time.monotonic() - begun, 1)


if mode == "transformers":
    from transformers import AutoConfig, AutoTokenizer

    ask("config", lambda: AutoConfig.from_pretrained(repo).model_type)
    ask("tokenizer", lambda: AutoTokenizer.from_pretrained(repo)("hello")["input_ids"])
else:
    from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache

    def ends_right(path):
        return path.endswith(f"/snapshots/{commit}") or f"/snapshots/{commit}/" in path

    def size(path):
        with open(path, "rb") as stream:
            return len(stream.read())

    def scanned():
        scan = scan_cache_dir()
        return [sorted(found.repo_id for found in scan.repos), [str(warning) for warning in scan.warnings]]

    if mode == "offline":
        ask("scan", scanned)
        ask("local snapshot", lambda: ends_right(snapshot_download(repo, local_files_only=True)))
        ask("local file", lambda: size(hf_hub_download(repo, "config.json", local_files_only=True)))
        # Neither a path nor "not cached": the hub is known to lack it.
        ask("known to be missing", lambda: not isinstance(try_to_load_from_cache(repo, "chat_template.jinja"), (str, type(None))))
    ask("snapshot", lambda: ends_right(snapshot_download(repo)))
    ask("pinned snapshot", lambda: ends_right(snapshot_download(repo, revision=commit)))
    if mode != "down-pinned":
        ask("file", lambda: ends_right(hf_hub_download(repo, "config.json")))
    ask("pinned file", lambda: ends_right(hf_hub_download(repo, "config.json", revision=commit)))

print(json.dumps({"answers": answers, "seconds": seconds}, sort_keys=True))
