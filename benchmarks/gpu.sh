#!/usr/bin/env bash
# On a machine with NVIDIA GPUs: is fastneurons right there, and how fast? Everything into one folder.
#
#     benchmarks/gpu.sh [MODEL] [FOLDER]
#
# MODEL is a folder or a name on the Hub (default: the demo's model, which comes along). PYTHON chooses the Python that
# has fastneurons[gpu,demo] and pytest. Each part goes on where another fails; the last lines say which did.
set -uo pipefail
cd "$(dirname "$0")/.."
model=${1:-}
out=${2:-gpu-results}
python=${PYTHON:-python3}
failed=()

part() { # part NAME COMMAND...: its output into NAME.txt
    local name=$1
    shift
    echo "== $name: $*"
    if "$@" > "$out/$name.txt" 2> "$out/$name.log"; then
        tail -n 40 "$out/$name.txt"
    else
        failed+=("$name")
        tail -n 5 "$out/$name.log"
    fi
}

command -v nvidia-smi > /dev/null || { echo "there is no nvidia-smi: this needs a machine with an NVIDIA GPU" >&2; exit 2; }
"$python" -c "import fastneurons, vllm" || { echo "pip install 'fastneurons[gpu,demo]' first" >&2; exit 2; }
mkdir -p "$out"
out=$(cd "$out" && pwd)
gpus=$(nvidia-smi --list-gpus | wc -l)

part machine nvidia-smi --query-gpu=name,memory.total,clocks.max.sm,power.limit,driver_version --format=csv
part info "$python" -m fastneurons info
# The kernels against their reference on the device, then their rates.
part kernels "$python" benchmarks/kernel_rate.py --json "$out/kernels.json" --markdown "$out/kernels.md"
# What they were predicted to cost.
part roofline "$python" benchmarks/roofline.py
# The engine's bits against plain forward passes of Transformers.
part agreement "$python" -m pytest -q tests/engine/test_real_model.py
# Every mode beside vLLM alone and other ways, eager and compiled.
eager=unpatched,idle,last:whole,last,last-6,any,any-6,corpus,attribution,last+store,attribution+store
compiled=unpatched:compiled,idle:compiled,last:compiled,any:compiled,corpus:compiled,attribution:compiled
others=lape,notebook,notebook+attribution,hooks,hooks+attribution,nnsight,transformer-lens
part bench "$python" -m fastneurons bench ${model:+"$model"} --contenders "$eager,$compiled,$others" \
    --tokens 65536 --json "$out/bench.json" --plot "$out/bench.png"
part languages "$python" -m fastneurons bench ${model:+"$model"} --contenders unpatched,last,any,attribution \
    --prompt-lengths 32 --num-languages 2,10,32 --tokens 65536 --json "$out/languages.json"
if [ "$gpus" -gt 1 ]; then
    part parallel "$python" -m fastneurons bench ${model:+"$model"} --tensor-parallel-size "$gpus" \
        --contenders unpatched:compiled,last:compiled,any:compiled,attribution:compiled \
        --prompt-lengths 128 --tokens 65536 --json "$out/parallel.json"
fi
part growth "$python" benchmarks/growth.py --json "$out/growth.json" --plot "$out/growth.png"

echo "results: $out"
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]} (see their .log)"
    exit 1
fi
