"""Every engine argument of vLLM is passed on or refused; those that change what a row is are refused by name."""

import ast
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import pytest

from fastneurons import engine_arguments
from fastneurons.config import EngineOptions
from fastneurons.engine_arguments import OWN
from fastneurons.errors import InputError

# The other arguments of vLLM 0.32 and 0.33: none changes what a row is or makes a number wrong. Before adding a name,
# ask: does it change which tokens pass through the patched layers or which requests they belong to, or replace a layer?
_PASSED_ON = """
aggregate_engine_logging all2all_backend allow_deprecated_quantization allowed_local_media_path
allowed_media_domains async_scheduling attention_backend attention_config aux_output_config block_size
code_revision collect_detailed_traces compilation_config config_format cp_kv_cache_interleave_size
cpu_distributed_timeout_seconds cpu_offload_gb cpu_offload_params cudagraph_capture_sizes
cudagraph_metrics custom_histogram_buckets data_parallel_address data_parallel_backend
data_parallel_rpc_port dbo_decode_token_threshold dbo_prefill_token_threshold dcp_comm_backend
dcp_kv_cache_interleave_size dcp_q_replicate device_ids disable_cascade_attn disable_chunked_mm_input
disable_custom_all_reduce disable_hybrid_kv_cache_manager disable_nccl_for_dp_synchronization
disable_sliding_window distributed_timeout_seconds download_dir dp_sync_interval ec_manager_config
elastic_ep_max_dp_size enable_chunked_prefill enable_cumem_allocator enable_ep_weight_filter enable_eplb
enable_expert_parallel enable_flashinfer_autotune enable_hc_sp enable_layerwise_nvtx_tracing
enable_logging_iteration_details enable_mamba_cache_stochastic_rounding
enable_mamba_shared_prefix_checkpoint enable_mfu_metrics enable_mm_embeds enable_mm_processor_stats
enable_nccl_comm_suspend enable_prefix_caching enable_prompt_embeds enable_return_routed_experts
enable_shm_tensor_arena enable_trace_replay engram_config eplb_config expert_placement_strategy
fail_on_environ_validation fault_tolerance_config generation_config hf_config_path hf_overrides hf_token
ignore_patterns interleave_mm_strings io_processor_plugin ir_op_priority jit_monitor_mode
jit_monitor_verbose kernel_config kv_cache_dtype kv_cache_dtype_skip_layers kv_cache_memory_bytes
kv_cache_metrics kv_cache_metrics_sample kv_events_config kv_offloading_backend language_model_only
limit_mm_per_prompt linear_backend load_format log_config_file log_level logging_config logprobs_mode
long_prefill_token_threshold long_prefill_token_threshold_adaptive mamba_backend mamba_block_size
mamba_cache_dtype mamba_cache_mode mamba_cache_philox_rounds mamba_config mamba_ssm_cache_dtype
mamba_ssu_algorithm master_addr master_port max_cudagraph_capture_size max_logprobs max_num_active_seqs
max_num_queued_reqs max_num_queued_tokens max_num_scheduled_tokens max_parallel_loading_workers
media_io_kwargs mm_device_do_normalize mm_encoder_attn_backend mm_encoder_attn_dtype
mm_encoder_fp8_scale_path mm_encoder_fp8_scale_save_margin mm_encoder_fp8_scale_save_path
mm_encoder_tp_mode mm_hasher_algorithm mm_ipc_gpu_memory_gb mm_processor_cache_gb
mm_processor_cache_type mm_processor_device mm_processor_kwargs mm_shm_cache_max_object_size_mb
mm_tensor_ipc model_class_overrides model_impl model_loader_extra_config moe_backend monokernel
num_gpu_blocks_override numa_bind numa_bind_cpus numa_bind_nodes offload_num_in_group offload_params
offload_prefetch_step optimization_level otlp_traces_endpoint override_generation_config
per_request_spec_decode_metrics performance_mode pooler_config prefill_schedule_interval
prefix_cache_retention_interval prefix_caching_hash_algo prefix_match_unit profiler_config
pt_load_map_location quantization_config ray_workers_use_nsight reasoning_config reasoning_parser
reasoning_parser_plugin renderer_num_workers replayssm_buffer_len safetensors_load_strategy
safetensors_prefetch_block_size safetensors_prefetch_num_threads scheduler_reserve_full_isl
scheduling_policy served_model_name show_hidden_metrics_for_version shutdown_timeout skip_mm_profiling
sleep_mode_backend sleep_mode_offload_cudagraph sleep_preserve_parameter_names
sparse_indexer_topk_backend stream_interval structured_outputs_config swa_bounded_replay tokenizer_mode
tokenizer_revision tokens_only use_fp64_gumbel use_replayssm use_tqdm_on_load video_pruning_method
video_pruning_rate watchdog_config watermark worker_extension_cls
"""
PASSED_ON = frozenset(_PASSED_ON.split())


def engine_arguments_of_vllm() -> list[str]:
    """The names, from the source: importing vLLM for them would take ten seconds."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    source = Path(spec.origin).parent / "engine" / "arg_utils.py"
    [arguments] = [
        node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "EngineArgs"
    ]
    return [
        node.target.id
        for node in arguments.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    ]


def test_every_engine_argument_of_vllm_is_decided():
    decided = {*PASSED_ON, *OWN, *engine_arguments._REFUSED, *engine_arguments._REFUSED_VALUES}
    decided |= {field.name for field in fields(EngineOptions)}
    undecided = [
        name
        for name in engine_arguments_of_vllm()
        if name not in decided and "lora" not in name and not name.startswith("_")
    ]
    assert undecided == [], "new in this vLLM: refuse them (fastneurons/engine_arguments.py) or pass them on"


def test_what_is_refused_exists():
    """A name that vLLM has renamed would be refused in vain."""
    there = set(engine_arguments_of_vllm())
    assert {*engine_arguments._REFUSED, *engine_arguments._REFUSED_VALUES, *OWN} <= there


@pytest.mark.parametrize("name", sorted(engine_arguments._REFUSED))
def test_arguments_that_change_what_a_row_is_are_refused_by_name(name):
    with pytest.raises(InputError, match=rf"^--engine-arg {name}: \w") as refused:
        EngineOptions(engine_args={name: 2})
    assert "\n" not in str(refused.value)
    for off in (None, False, 0):
        EngineOptions(engine_args={name: off})


@pytest.mark.parametrize(
    "name", ["prefill_context_parallel_size", "decode_context_parallel_size", "data_parallel_size", "nnodes"]
)
def test_a_size_of_one_divides_nothing(name):
    EngineOptions(engine_args={name: 1})


@pytest.mark.parametrize(
    ("name", "value", "fine"),
    [
        ("runner", "pooling", "generate"),
        ("convert", "embed", "auto"),
        ("offload_backend", "prefetch", "uva"),
        ("distributed_executor_backend", "external_launcher", "ray"),
    ],
)
def test_some_values_are_refused(name, value, fine):
    with pytest.raises(InputError, match=f"^--engine-arg {name}: "):
        EngineOptions(engine_args={name: value})
    EngineOptions(engine_args={name: fine})


def test_a_speculative_model_is_refused_with_the_reason():
    with pytest.raises(InputError, match="draft tokens"):
        EngineOptions(engine_args={"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}})


def test_what_fastneurons_sets_itself_is_refused_even_if_off():
    with pytest.raises(InputError, match="worker_cls: fastneurons sets this itself"):
        EngineOptions(engine_args={"worker_cls": None})
