"""Sentence embeddings on a CPU: a plain Runpod worker, with nothing of Larder in it.

Input:  {"text": "one"}                         -> {"embedding": [...]}
        {"texts": ["one", "two"]}               -> {"embeddings": [[...], [...]]}
        {"texts": ["one", "two"], "query": "q"} -> {"nearest": "two", "score": 0.87, "scores": [...]}
"""

import json
import os
from pathlib import Path

# A sentence is too little work for threads: on a busy machine they only wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy
import runpod
from safetensors.numpy import load_file
from tokenizers import Tokenizer

MODEL = os.environ.get("MODEL_NAME", "sentence-transformers/all-MiniLM-L6-v2")
# Where Runpod documents cached models to be. HF_HUB_CACHE goes first: it is what Hugging Face libraries follow.
HUB = Path(os.environ.get("HF_HUB_CACHE", "/runpod-volume/huggingface-cache/hub"))
TEXTS_MAX = 256


def find_model(name):
    """Returns the folder of the model's files, in the standard layout of the Hugging Face cache."""
    repo = HUB / f"models--{name.replace('/', '--')}"
    commit = (repo / "refs" / "main").read_text().strip()
    return repo / "snapshots" / commit


class SentenceEncoder:
    """BERT with mean pooling, as sentence-transformers computes it, in plain numpy."""

    def __init__(self, folder):
        config = json.loads((folder / "config.json").read_text())
        self.layers = config["num_hidden_layers"]
        self.heads = config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]
        self.weights = load_file(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self.tokenizer.enable_truncation(limit)
        self.tokenizer.enable_padding()

    def linear(self, name, x):
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def normalise(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / numpy.sqrt((centred**2).mean(-1, keepdims=True) + self.epsilon)
        return scaled * self.weights[f"{name}.weight"] + self.weights[f"{name}.bias"]

    def attend(self, name, x, padding):
        batch, length, width = x.shape

        def heads(part):
            whole = self.linear(f"{name}.self.{part}", x)
            return whole.reshape(batch, length, self.heads, width // self.heads).transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) / (width / self.heads) ** 0.5
        scores = numpy.exp(scores + padding - (scores + padding).max(-1, keepdims=True))
        mixed = scores / scores.sum(-1, keepdims=True) @ heads("value")
        return self.linear(f"{name}.output.dense", mixed.transpose(0, 2, 1, 3).reshape(batch, length, width))

    def encode(self, texts):
        """Returns one vector of length 1 for each text."""
        encoded = self.tokenizer.encode_batch(texts)
        ids = numpy.array([one.ids for one in encoded])
        mask = numpy.array([one.attention_mask for one in encoded], dtype=numpy.float32)
        x = self.weights["embeddings.word_embeddings.weight"][ids]
        x = x + self.weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
        x = x + self.weights["embeddings.token_type_embeddings.weight"][0]
        x = self.normalise("embeddings.LayerNorm", x)
        padding = (1 - mask[:, None, None, :]) * -1e9
        for number in range(self.layers):
            layer = f"encoder.layer.{number}"
            x = self.normalise(f"{layer}.attention.output.LayerNorm", x + self.attend(f"{layer}.attention", x, padding))
            inner = gelu(self.linear(f"{layer}.intermediate.dense", x))
            x = self.normalise(f"{layer}.output.LayerNorm", x + self.linear(f"{layer}.output.dense", inner))
        pooled = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdims=True)
        return pooled / numpy.linalg.norm(pooled, axis=1, keepdims=True)


def gelu(x):
    """The exact GELU. numpy has no erf: Abramowitz and Stegun 7.1.26 is right to 1.5e-7."""
    z = numpy.abs(x) / 2**0.5
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = numpy.sign(x) * (1 - series * numpy.exp(-(z**2)))
    return 0.5 * x * (1 + erf)


def handler(job):
    asked = job["input"]
    if "text" in asked:
        return {"embedding": encoder.encode([str(asked["text"])])[0].tolist()}
    texts = [str(text) for text in asked.get("texts", [])]
    if not 1 <= len(texts) <= TEXTS_MAX:
        return {"error": f"the input needs a text, or 1 to {TEXTS_MAX} texts"}
    vectors = encoder.encode(texts)
    if "query" not in asked:
        return {"embeddings": vectors.tolist()}
    scores = vectors @ encoder.encode([str(asked["query"])])[0]
    best = int(scores.argmax())
    return {"nearest": texts[best], "score": float(scores[best]), "scores": scores.tolist()}


if __name__ == "__main__":
    encoder = SentenceEncoder(find_model(MODEL))
    runpod.serverless.start({"handler": handler})
