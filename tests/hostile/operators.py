"""Operators that read files, take storage, choose devices, start processes or mutate; by name, alias and attribute."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hostile.case import Case, ask, calling, case

FILES = (
    "from_file load save jit.load hub.load package.PackageImporter ops.load_library load_library import_module fromfile"
)

CODE = """
__class__ __init__ __dict__ __getattr__ __reduce__ __globals__ __import__ __subclasses__ _dir eval exec open compile
os.system builtins.eval subprocess.run sys.exit pickle.loads ctypes.CDLL importlib.import_module
ops.aten.relu.__class__ ops.aten.relu.default.__globals__ aten.relu.__class__ aten.relu.default.py_kernels
aten.relu.__class__.__base__.__subclasses__ _C._jit_get_operation classes.load_library prim::CallMethod prims.add
quantized::add c10d::broadcast_ image::read_file profiler::_record_function_enter utils.cpp_extension.load _dynamo.eval
"""

STORAGE = """
set_ set set_.source_Storage set_.source_Storage_storage_offset resize_ resize resize_as_ resize_as _resize_output
_resize_output_ set_data data _reshape_alias _reshape_alias_copy storage untyped_storage data_ptr share_memory_ is_set_to
record_stream pin_memory _pin_memory is_pinned item _local_scalar_dense _assert_async _print tolist numpy new_empty empty
empty_like empty.memory_format empty_strided empty_permuted empty_quantized new_empty_strided _empty_affine_quantized
_efficientzerotensor as_strided_ _version requires_grad_ retain_grad detach_ rename_ align_to refine_names _lazy_clone
_backward backward register_hook _nested_view_from_buffer lift lift_fresh to_mkldnn to_sparse _coalesced_ swap_tensors
"""

DEVICES_AND_PROCESSES = """
manual_seed seed initial_seed set_num_threads set_default_device set_grad_enabled use_deterministic_algorithms cuda
cuda.set_device _to_cpu _copy_from _copy_from_and_resize copy_ to.device to.dtype_layout _cudnn_init_dropout_state
cudnn_convolution miopen_convolution mkldnn_linear _mps_convolution fbgemm_pack_quantized_matrix _nnpack_available
_cuda_getCurrentRawStream distributed.init_process_group distributed.broadcast multiprocessing.Process jit.script compile
fork abort kill _C._cuda_init _cslt_compress _use_cudnn_ctc_loss _thnn_fused_lstm_cell quantize_per_tensor
"""

MUTATION = """
relu_ add_ add_.Tensor mul_ copy zero_ fill_ fill_.Scalar index_put_ _index_put_impl_ scatter_ scatter_.src masked_fill_
masked_scatter_ normal_ uniform_ random_ bernoulli_ exponential_ geometric_ squeeze_ squeeze_.dim t_ transpose_ unsqueeze_
swapaxes_ swapdims_ index_add_ index_copy_ put_ embedding_renorm_ _fused_adam _fused_adam_ _fused_sgd_ _foreach_add
_foreach_add_ _foreach_copy _foreach_zero_ _amp_update_scale_ _amp_foreach_non_finite_check_and_unscale_
resize_as_sparse_ sparse_resize_ relu.out add.out matmul.out mm.out sin.out cat.out zeros.out linalg_solve.out copy.out
native_batch_norm.out __iadd__ __ior__ __setitem__ __delitem__
"""

WITHOUT_END = """
histogramdd histogram histogram.bins_tensor special_legendre_polynomial_p special_laguerre_polynomial_l
special_hermite_polynomial_h special_chebyshev_polynomial_t special.legendre_polynomial_p _stack unique where.default
"""

REFUSAL = "refused_op|unknown_op"
ALIASES = ("aten.{}", "aten::{}", "torch.{}", "torch.ops.aten.{}", "torch.Tensor.{}")

LOOK_ALIKES = {
    "Cyrillic": "r\u0435lu",
    "full width": "\uff52\uff45\uff4c\uff55",
    "zero width": "re\u200blu",
    "right to left": "\u202eulerrelu",
    "byte order mark": "\ufeffrelu",
    "a null byte": "relu\x00",
    "a line end": "relu\n",
    "a blank": " relu",
    "upper case": "RELU",
    "combining": "relu\u0301",
    "an emoji": "\U0001f525",
    "a dot too many": "aten..relu",
    "a dot at the end": "aten.relu.",
    "nothing behind the dot": "aten.",
    "a dot before": ".relu",
    "three overloads": "relu.default.default",
    "twice aten": "aten::aten::relu",
    "many prefixes": "torch.ops.aten.aten::aten.torch.relu",
    "a path": "../../relu",
    "an address": "file:///etc/passwd",
    "a statement": "relu; import os",
    "a call": "relu()",
    "a format": "{0.__class__}",
    "a percent format": "%s%n",
    "a query": "relu' OR '1'='1",
    "a template": "${jndi:ldap://x}",
    "256 dots": "." * 256,
}

ARGUMENTS = {
    "a device": (calling("zeros", [2], device="cpu"), "device"),
    "another device": (calling("ones", [2], device="cuda:0"), "device"),
    "the meta device": (calling("arange", 3, device="meta"), "device"),
    "pinned memory": (calling("full", [2], 1.0, pin_memory=True), "pin_memory"),
    "a generator": (calling("randn", [2], generator="$x"), "generator"),
    "a generator of its own": (calling("bernoulli", "$x", generator=1), "generator"),
    "names": (calling("zeros", [2], names=["N"]), "names"),
    "out": (calling("add", "$x", "$x", out="$x"), "out"),
    "out of another": (calling("matmul", "$x", "$x", out="$x"), "out"),
    "a dunder": (calling("relu", "$x", __class__="x"), "__class__"),
    "an attribute": (calling("relu", **{"self.__class__": 1}), "self.__class__"),
    "a sparse layout": (calling("zeros", [2], layout="sparse_coo"), "layout"),
    "a layout of code": (calling("zeros", [2], layout="__import__('os')"), "layout"),
    "a dtype by attribute": (calling("zeros", [2], dtype="torch.Tensor.__class__"), "dtype"),
    "a memory format by attribute": (calling("clone", "$x", memory_format="__doc__"), "memory_format"),
    "an empty name": (calling("relu", "$x", **{"": 1}), ""),
    "a name of 1,000 letters": (calling("relu", "$x", **{"a" * 1000: 1}), "a" * 1000),
}

OUT_OF_BOUNDS = {
    "far past": (calling("as_strided", "$x", [2], [1], 10**9)),
    "before": (calling("as_strided", "$x", [2], [1], -1)),
    "by one": (calling("as_strided", "$x", [4], [1])),
    "strides backwards": (calling("as_strided", "$x", [2], [-1], 1)),
    "strides that overflow": (calling("as_strided", "$x", [2**32, 2**32], [2**32, 2**32])),
    "a copy": (calling("as_strided_copy", "$x", [2, 2], [2, 2])),
    "a scatter": (calling("as_strided_scatter", "$x", "$x", [3], [1], 1)),
    "fewer strides than sizes": (calling("as_strided", "$x", [2, 2], [1])),
}


def _named() -> Iterator[Case]:
    """Each by its own name; a plain one by two of its aliases too, by all of them together."""
    families = (FILES, CODE, STORAGE, DEVICES_AND_PROCESSES, MUTATION, WITHOUT_END)
    names = dict.fromkeys(name for family in families for name in family.split())
    for index, name in enumerate(names):
        is_plain = "." not in name and "::" not in name
        aliases = [ALIASES[(index + k) % len(ALIASES)] for k in range(2)] if is_plain else []
        for op in dict.fromkeys([name, *(alias.format(name) for alias in aliases)]):
            yield case(f"operator {op}", ask(calling(op, "$x")), REFUSAL, "/graph/nodes/0/op", node="y")


def _looking_like_one() -> Iterator[Case]:
    for name, op in LOOK_ALIKES.items():
        yield case(f"operator with {name}", ask(calling(op, "$x")), "unknown_op", "/graph/nodes/0/op", node="y")


def _arguments() -> Iterator[Case]:
    for name, (graph, key) in ARGUMENTS.items():
        place = f"/graph/nodes/0/kwargs/{key}"
        yield case(f"argument: {name}", ask(graph), "bad_argument", place, node="y")


OPERATORS = [
    *_named(),
    *_looking_like_one(),
    *_arguments(),
    *(
        case(f"as_strided: {name}", ask(graph), "incompatible_arguments", "/graph/nodes/0", node="y")
        for name, graph in OUT_OF_BOUNDS.items()
    ),
]
