#!/usr/bin/env bash
# On a machine with NVIDIA GPUs: does fastneurons run there, is it right, and how fast is it? One folder to send back.
#
#     benchmarks/gpu.sh FOLDER [STAGE ...]
#
# Stages, in their order (all of them by default; `benchmarks/gpu.sh list` prints the names):
#     machine kernels bits agreement profile bench compiled attribution others languages parallel growth roofline
#
# Each stage writes FOLDER/STAGE.txt (results), STAGE.log (the rest) and STAGE.status, and the script goes on where one
# fails. Its last lines, also in FOLDER/summary.txt, say what each result means. Set in the environment:
#     PYTHON   the Python that has fastneurons[gpu,demo] and pytest (python3)
#     MODEL    a folder, a name on the Hub, or a shape of random_model.py, whose weights are made up: llama-1b (the
#              default), llama-8b, qwen3-8b, ...; with ":dummy" (llama-8b:dummy) without weights on the disk, which
#              starts sooner, but then nothing can be compared with a plain forward pass
#     ENGINE   engine arguments for every run, e.g. ENGINE="--engine-arg attention_backend=TRITON_ATTN"
#     TOKENS   of a round of the benchmarks (4194304)
#     SCALE    full, or small: numbers so small that a CPU does each stage within a minute or two
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
python=${PYTHON:-python3}
scale=${SCALE:-full}
model=${MODEL:-}
read -r -a engine <<< "${ENGINE:-}"
stages=(machine kernels bits agreement profile bench compiled attribution others languages parallel growth roofline)

if [ "${1:-}" = list ]; then
    printf '%s\n' "${stages[@]}"
    exit
fi
out=${1:?"a folder for the results is missing: benchmarks/gpu.sh FOLDER [STAGE ...]"}
shift
chosen=("${@:-${stages[@]}}")
for stage in "${chosen[@]}"; do
    [[ " ${stages[*]} " == *" $stage "* ]] || { echo "$stage: must be one of ${stages[*]}" >&2; exit 2; }
done
case $scale in
    full)
        command -v nvidia-smi > /dev/null || { echo "there is no nvidia-smi: this needs a machine with an NVIDIA GPU (or SCALE=small)" >&2; exit 2; }
        gpus=$(nvidia-smi --list-gpus | wc -l)
        # Of a device's memory, for each of the engines that are loaded at once.
        two=(--gpu-memory-utilization 0.42) three=(--gpu-memory-utilization 0.3)
        tokens=${TOKENS:-4194304} few=65536 rounds=3 lengths=8,32,128,512 languages=2,10,32 examples=64
        ;;
    small)
        two=() three=()
        gpus=2 tokens=${TOKENS:-256} few=128 rounds=1 lengths=8 languages=2 examples=4
        model=${model:-smallest}
        ;;
    *) echo "SCALE=$scale: must be full or small" >&2; exit 2 ;;
esac
"$python" -m fastneurons --help > /dev/null 2>&1 || { echo "$python has no fastneurons: pip install 'fastneurons[gpu,demo]' and pytest, or set PYTHON" >&2; exit 2; }
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 2

# Models with made-up weights are written once, outside of the folder that is sent back.
model=${model:-llama-1b}
shape=${model%:dummy}
loaded=()
if "$python" benchmarks/random_model.py --known "$shape"; then
    made=${TMPDIR:-/tmp}/fastneurons-models/${model/:/-}
    weights=--weights
    if [ "$model" != "$shape" ]; then
        weights=--no-weights
        loaded=(--engine-arg load_format=dummy)
    fi
    [ -e "$made/config.json" ] || "$python" benchmarks/random_model.py "$shape" "$made" $weights || exit 2
    model=$made
fi

run() { # run COMMAND...: a command of the stage that is under way; its output is kept, and a failure is the stage's
    echo "\$ $*" >> "$out/$stage.log"
    "$@" >> "$out/$stage.txt" 2>> "$out/$stage.log" || failure=$?
}

bench() { # bench NAME CONTENDERS [OPTION...]: figures into NAME.json
    local name=$1 contenders=$2
    shift 2
    run "$python" -m fastneurons bench "$model" --contenders "$contenders" --rounds "$rounds" --max-model-len 1024 \
        --json "$out/$name.json" "${loaded[@]}" "${engine[@]}" "$@"
}

do_stage() {
    case $stage in
        machine)
            [ "$scale" = small ] || run nvidia-smi --query-gpu=name,memory.total,clocks.max.sm,power.limit,driver_version --format=csv
            [ "$scale" = small ] || run nvidia-smi topo -m
            run "$python" -m fastneurons info
            "$python" -m pip list --format=freeze > "$out/packages.txt" 2>> "$out/$stage.log" || failure=$?
            ;;
        kernels) # each against its reference on the device, then its rate
            if [ "$scale" = small ]; then
                run env TRITON_INTERPRET=1 "$python" benchmarks/kernel_rate.py --check --device cpu --dtype fp16 --neurons 96 --rows 64
            else
                run "$python" benchmarks/kernel_rate.py --json "$out/kernels.json" --markdown "$out/kernels.md"
            fi
            ;;
        bits) # the smallest run: eager, on the first runner, compiled
            run "$python" benchmarks/same_bits.py --examples "$examples" --json "$out/bits.json" "${engine[@]}"
            ;;
        agreement) # a real model against plain forward passes of Transformers
            run "$python" -m pytest -q tests/engine/test_real_model.py
            ;;
        profile)
            local steps=20
            [ "$scale" = full ] || steps=2
            run "$python" benchmarks/profile_steps.py "$model" --steps "$steps" --json "$out/profile.json" \
                --trace "$out/trace.json.gz" "${loaded[@]}" "${engine[@]}"
            ;;
        bench) # eager: each mode beside vLLM alone. Two engines at once.
            bench bench unpatched,last,any,corpus,last+store --prompt-lengths "$lengths" --tokens "$tokens" \
                "${two[@]}"
            ;;
        compiled)
            bench compiled unpatched:compiled,last:compiled,any:compiled --prompt-lengths "$lengths" \
                --tokens "$tokens" "${two[@]}"
            ;;
        attribution)
            bench attribution unpatched,attribution,attribution+store --prompt-lengths "$lengths" \
                --tokens "$tokens" "${two[@]}"
            ;;
        others) # the published loops, a prompt at a time, and LAPE's method
            bench others unpatched,lape,notebook,notebook+attribution,hooks,hooks+attribution,nnsight,transformer-lens \
                --prompt-lengths "$lengths" --tokens "$few" "${three[@]}"
            ;;
        languages)
            bench languages unpatched,last,any --prompt-lengths 32 --num-languages "$languages" \
                --tokens "$tokens" "${two[@]}"
            ;;
        parallel) # on two devices: the same bits as on one, and the rate
            if [ "$gpus" -lt 2 ]; then
                echo "one GPU: nothing to compare" >> "$out/$stage.txt"
                return
            fi
            local splits="tensor pipeline" ways=eager,tp2,pp2
            # On a CPU, vLLM's eager mode has no pipeline parallelism.
            [ "$scale" = full ] || splits=tensor ways=eager,tp2
            run "$python" benchmarks/same_bits.py --ways "$ways" --examples "$examples" \
                --json "$out/parallel-bits.json" "${engine[@]}"
            for split in $splits; do
                bench "parallel-$split" unpatched,last,any --prompt-lengths "${lengths#8,}" --tokens "$tokens" \
                    "${two[@]}" "--$split-parallel-size" 2
            done
            ;;
        growth)
            if [ "$scale" = small ]; then
                run "$python" benchmarks/growth.py --quick --json "$out/growth.json"
            else
                run "$python" benchmarks/growth.py --json "$out/growth.json" --plot "$out/growth.png"
            fi
            ;;
        roofline) # what all this was predicted to cost
            run "$python" benchmarks/roofline.py
            ;;
    esac
}

for stage in "${chosen[@]}"; do
    rm -f "$out/$stage".{txt,log,json,status}
    failure=0
    began=$SECONDS
    echo "== $stage"
    do_stage
    echo "$failure $((SECONDS - began))" > "$out/$stage.status"
    [ ! -s "$out/$stage.txt" ] || tail -n 40 "$out/$stage.txt"
    [ "$failure" = 0 ] || { echo "FAILED:"; tail -n 5 "$out/$stage.log"; }
done
"$python" benchmarks/gpu_summary.py "$out" | tee "$out/summary.txt"
exit "${PIPESTATUS[0]}"
