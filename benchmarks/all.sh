#!/usr/bin/env bash
# Every figure of docs/benchmarks.md and the README, from one folder of evaluation sets:
#
#     LLMCODEC_MODELS=MODELS benchmarks/all.sh DEV
#
# DEV holds the audiofolders sounds, emotion, digits, keywords, speech, noise; MODELS holds whisper-base, minilm-l6,
# qwen2.5-0.5b and gemma3-270m. Results that exist already are kept; remove benchmarks/results/NAME.json to make one again.
set -euo pipefail
cd "$(dirname "$0")"
dev=$1
python=${PYTHON:-python}
mkdir -p results

once() { # NAME SCRIPT ARGUMENTS...
    local out=results/$1.json script=$2
    shift 2
    [ -f "$out" ] || { echo "== $out" && "$python" "$script" --threads "${THREADS:-2}" --out "$out" "$@"; }
}

once speed speed.py --seconds 1 10 600 3600 --peers bfloat16 conv conv-per-call encodec dac mimi snac encodec-package
once reconstruct reconstruct.py --data "$dev/speech"
once reconstruct_sounds reconstruct.py --data "$dev/sounds" --no-asr
# The codecs that recipes/settle.yaml and recipes/adversarial.yaml make: SETTLE=runs/settle/codec, ADVERSARIAL=...
[ -z "${SETTLE:-}" ] || once reconstruct_settle reconstruct.py --data "$dev/speech" --codec "$SETTLE"
[ -z "${ADVERSARIAL:-}" ] || once adversarial reconstruct.py --data "$dev/speech" --codec "$ADVERSARIAL"
once codebook_use codebook_use.py --min-share 0.6 --data "$dev"/{sounds,emotion,digits,keywords,speech}
once engine engine.py --data "$dev/sounds" --scorer knn
once load load.py --data "$dev/sounds" --seconds 300 --threads 1
once planning planning.py --data "$dev"/{speech,sounds}
once relevance relevance.py --data "$dev"/{sounds,keywords,digits,emotion}
fewshot() { # NAME DATA ARGUMENTS...
    local name=$1 data=$2
    shift 2
    once "$name" fewshot.py --data "$dev/$data" "$@"
}
fewshot sounds sounds --episodes 1000 --settings 2x1 3x1 5x1 6x1 2x5 5x5 10x5
fewshot emotion emotion --template emotion --episodes 1000 --settings 2x1 2x3 2x5
fewshot keywords keywords --template keyword --episodes 1000 --settings 5x5
fewshot digits digits --template digit --episodes 1000 --settings 5x5
fewshot sounds-scorers sounds --episodes 100 \
    --scorer knn channel ensemble direct direct-orders direct-prompts direct-bare \
    direct-repeats direct-context direct-batch paper
fewshot models sounds --llm smollm2-135m gemma3-270m qwen2.5-0.5b --episodes 100 --settings 2x1 5x1 --scorer knn direct
once enhance enhance.py --speech "$dev/speech" --noise "$dev/noise"
once speak speak.py --data "$dev/digits"
once speak-heard speak.py --data "$dev/digits" --candidates 8 --rerank heard --no-questions
once speak-qwen speak.py --data "$dev/digits" --llm qwen2.5-0.5b
if [ -d "${LLMCODEC_MODELS:-}/kokoro" ]; then # digits in a clean voice, synthetic: needs the package kokoro-onnx
    voice=$(mktemp -d)
    "$python" synthetic_digits.py --kokoro "$LLMCODEC_MODELS/kokoro" --out "$voice/synthetic"
    once speak-clean speak.py --data "$voice/synthetic" --no-questions
    once speak-clean-heard speak.py --data "$voice/synthetic" --candidates 8 --rerank heard --no-questions
    once speak-clean-qwen speak.py --data "$voice/synthetic" --llm qwen2.5-0.5b --no-questions
    for name in am_adam bf_emma; do
        "$python" synthetic_digits.py --kokoro "$LLMCODEC_MODELS/kokoro" --voice "$name" --each 8 --out "$voice/$name"
        once "voice-$name" speak.py --data "$voice/$name" --generations 50 --no-questions
    done
    rm -r "$voice"
fi
once text_to_audio text_to_audio.py --data "$dev/sounds"
# What needs the training set: TRAIN=FOLDER benchmarks/all.sh DEV
[ -z "${TRAIN:-}" ] || once tune tune.py --data "$TRAIN" --only esc10/ --without "dog bark" --test "$dev/sounds" \
    --settings 2x1 5x1
# The choices behind the words need its feature cache too: CACHE=FOLDER
[ -z "${CACHE:-}" ] || once choose_listener choose_listener.py ../recipes/words.yaml --data "$TRAIN" --cache "$CACHE"
[ -z "${CACHE:-}" ] || once choose_teacher choose_teacher.py ../recipes/words.yaml --data "$TRAIN" --cache "$CACHE"
"$python" render.py
