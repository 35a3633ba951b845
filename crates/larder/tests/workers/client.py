"""The Runpod client with its base URL changed and nothing else. Prints what it got as JSON."""
import json
import sys

import runpod

base, key, endpoint_id = sys.argv[1:]
runpod.endpoint_url_base = base
runpod.api_key = key
endpoint = runpod.Endpoint(endpoint_id)

synchronous = endpoint.run_sync({"text": "one"}, timeout=120)
job = endpoint.run({"text": "two"})
output = job.output(timeout=120)
failing = endpoint.run({"raise": "three"})
failing.output(timeout=120)
cancelled = endpoint.run({"sleep": 30})
cancelled.cancel()
print(json.dumps({
    "run_sync": synchronous,
    "run": output,
    "status": job.status(),
    "failing": failing.status(),
    "cancelled": cancelled.status(),
    "health": endpoint.health(),
}))
