"""What failing trainings really print: by cause, each message as its library words it.

Those of causes marked R were produced by the engine's own Python, with paths shortened.
"""

from __future__ import annotations

HUB = (
    "requests.exceptions.ConnectionError: (MaxRetryError('HTTPSConnectionPool(host=\\'huggingface.co\\', port=443): "
    "Max retries exceeded with url: /api/models/openai/clip-vit-large-patch14 (Caused by NameResolutionError("
    "\"HTTPSConnection(host=\\'huggingface.co\\', port=443): Failed to resolve \\'huggingface.co\\' "
    "([Errno -2] Name or service not known)\"))'), '(Request ID: 7704247a)')"
)
ALLOCATOR = (
    "RuntimeError: [enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried "
    "to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)"
)
ARRAY = (
    "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 7.11 PiB for an array with shape "
    "(1000000000000000,) and data type float64"
)
CUDA_MEMORY = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.25 GiB. GPU 0 has a total capacity of 23.64 GiB "
    "of which 1.12 GiB is free. Including non-PyTorch memory, this process has 22.51 GiB memory in use."
)
PICKLED = (
    "ValueError: This file contains pickled (object) data. If you trust the file you can load it unsafely using the "
    "`allow_pickle=` keyword argument or `pickle.load()`."
)
NOT_LISTED = (
    "NVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation."
)
OLD_DRIVER = (
    "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver"
)
WORKER = "RuntimeError: DataLoader worker (pid(s) 22096) exited unexpectedly"
SHM = "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm)."


def launched(signal: str) -> str:
    return f"subprocess.CalledProcessError: Command '['python', 'train.py']' died with <Signals.{signal}>."


LINES: dict[str, tuple[str, ...]] = {
    "gpu-out-of-memory": (CUDA_MEMORY, "RuntimeError: CUDA error: out of memory"),
    "shared-memory": (SHM, "RuntimeError: unable to open shared memory object </torch_81_9> in read-write mode"),
    "host-out-of-memory": (ALLOCATOR, "MemoryError", ARRAY),
    "killed-for-memory": (
        "[81.2] Out of memory: Killed process 4242 (python) total-vm:81920000kB, anon-rss:23000000kB",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=77.0. Some of the step tasks have been OOM Killed.",
    ),
    "preempted": ("slurmstepd: error: *** JOB 77 ON node1 CANCELLED AT 2026-01-01T00:00:00 DUE TO TIME LIMIT ***",),
    "disk-full": (
        "OSError: [Errno 28] No space left on device",
        "safetensors._safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device "
        "(os error 28)",
        "RuntimeError: [enforce fail at inline_container.cc:626] . unexpected pos 384 vs 342",
    ),
    "read-only": (
        "OSError: [Errno 30] Read-only file system: 'output/last.safetensors'",
        "safetensors._safetensors_rust.SafetensorError: Error while serializing: I/O error: Read-only file system "
        '(os error 30) at path "/runs/a/.tmpXmlDR2"',
    ),
    "mount-lost": (
        "OSError: [Errno 116] Stale file handle: '/mnt/nas/photos/1.png'",
        "OSError: [Errno 5] Input/output error",
        "OSError: [Errno 107] Transport endpoint is not connected: '/mnt/nas'",
    ),
    "permission": ("PermissionError: [Errno 13] Permission denied: '/photos/1.png'",),
    "too-many-files": ("OSError: [Errno 24] Too many open files",),
    "gpu-lost": (
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "NVRM: Xid (PCI:0000:01:00): 79, pid=1234, GPU has fallen off the bus.",
        "RuntimeError: CUDA error: unspecified launch failure",
    ),
    "gpu-busy": (
        "RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable",
        "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    ),
    "driver-too-old": (
        OLD_DRIVER,
        "RuntimeError: CUDA error: the provided PTX was compiled with an unsupported toolchain.",
    ),
    "gpu-not-supported": ("RuntimeError: CUDA error: no kernel image is available for execution on the device",),
    "driver-mismatch": ("Failed to initialize NVML: Driver/library version mismatch",),
    "no-cuda": (
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        "AssertionError: Torch not compiled with CUDA enabled",
        "ValueError: ProcessGroupNCCL is only supported with GPUs, no GPUs found!",
    ),
    "bf16-unsupported": ("ValueError: bf16 mixed precision requires PyTorch >= 1.10 and a supported device.",),
    "fp8-unsupported": (
        "RuntimeError: \"LayerNormKernelImpl\" not implemented for 'Float8_e4m3fn'",
        "RuntimeError: Promotion for Float8 Types is not supported, attempted to promote Float8_e4m3fn and BFloat16",
    ),
    "nccl": ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1970, unhandled system error",),
    "port-taken": (
        "RuntimeError: The server socket has failed to listen on any local network address. port: 29801, useIpv6: 0, "
        "code: -98, name: EADDRINUSE, message: address already in use",
    ),
    "gpu-fault": (
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: CUDA error: device-side assert triggered",
    ),
    "segfault": ("Fatal Python error: Segmentation fault", launched("SIGSEGV: 11")),
    "bus-error": (launched("SIGBUS: 7"),),
    "illegal-instruction": (launched("SIGILL: 4"),),
    "aborted": (launched("SIGABRT: 6"),),
    "killed": (launched("SIGKILL: 9"), WORKER, "       exitcode  : -9 (pid: 4242)", "forge ended before its trainer"),
    "terminated": (launched("SIGTERM: 15"),),
    "latents-nan": ("RuntimeError: NaN detected in latents: /photos/1.png",),
    "captions-nan": ("RuntimeError: NaN detected in text encoder outputs: /photos/1.png",),
    "diverged": ("steps:   3%|3    | 60/2000 [01:00<32:20,  1.00s/it, avr_loss=nan]",),
    "cache-damaged": (
        "zipfile.BadZipFile: Bad CRC-32 for file 'latents_96x96.npy'",
        "zipfile.BadZipFile: File is not a zip file",
        "EOFError: No data left in file",
        PICKLED,
    ),
    "bad-image": (
        "PIL.UnidentifiedImageError: cannot identify image file '/photos/1.png'",
        "OSError: image file is truncated (119 bytes not processed)",
    ),
    "caption-empty": ("AssertionError: caption file is empty / キャプションファイルが空です: /photos/1.txt",),
    "caption-encoding": (
        "illegal char in file (not UTF-8) / ファイルにUTF-8以外の文字があります: /photos/1.txt",
        "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    "no-data": ("No data found. Please verify arguments (train_data_dir must be the parent of folders with images)",),
    "xformers-missing": ("ImportError: No xformers / xformersがインストールされていないようです",),
    "bitsandbytes": (
        "ImportError: No bitsandbytes / bitsandbytesがインストールされていないようです",
        "RuntimeError: Attempted to use bitsandbytes native library functionality but it's not available.",
    ),
    "tokenizer-missing": (
        HUB,
        "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them",
        "OSError: Can't load tokenizer for 'openai/clip-vit-large-patch14'. If you were trying to load it from",
    ),
    "hub-refused": ("huggingface_hub.errors.GatedRepoError: 401 Client Error.",),
    "model-missing": (
        "FileNotFoundError: No such file or directory: none.safetensors",
        'ValueError: The provided pretrained_model_name_or_path "/models/none.safetensors" is neither a valid local '
        "path nor a valid repo id. Please check the parameter.",
    ),
    "model-damaged": (
        "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: header too large",
        "safetensors._safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata, file "
        "not fully covered",
        "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
    ),
    "model-wrong": (
        "ValueError: max() arg is an empty sequence",
        "KeyError: 'time_embed.0.weight'",
        "RuntimeError: Error(s) in loading state_dict for Flux:",
    ),
    "state-mismatch": ("ValueError: loaded state dict has a different number of parameter groups",),
    "options-refused": (
        "train_network.py: error: unrecognized arguments: --nonsense 3",
        "train_network.py: error: argument --mixed_precision: invalid choice: 'banana' (choose from 'no', 'fp16')",
        "voluptuous.error.MultipleInvalid: extra keys not allowed @ data['x']",
    ),
    "environment-broken": (
        "ModuleNotFoundError: No module named 'diffusers'",
        "ImportError: cannot import name 'cached_download' from 'huggingface_hub'",
        "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
    ),
    "engine-assertion": (
        "AssertionError: when caching latents, either color_aug or random_crop cannot be used",
        "AssertionError",
    ),
    "failed": ("RuntimeError: shape mismatch in block 3", "KeyboardInterrupt"),
    "gpu-not-listed": (NOT_LISTED,),
    "no-images-used": ("ignore subset with image_dir='/photos': no images found / 画像が見つからないため",),
}

NOISE = (
    "Failed to load CPU gemm_4bit_forward from kernels-community: No module named 'kernels'. Please make sure",
    "prepare tokenizers",
    "found directory /photos contains 23 image files",
    "missing_keys=['encoder.block.0.layer.0.SelfAttention.q.weight'], unexpected_keys=[]",
    "FutureWarning: `torch.cuda.amp.GradScaler(args...)` is deprecated. Please use `torch.amp.GradScaler` instead.",
    "steps:  20%|##        | 400/2000 [10:00<40:00,  1.50s/it, avr_loss=0.341]",
    "Traceback (most recent call last):",
    '  File "/engine/library/train_util.py", line 2960, in load_image',
    "    raise e",
)
LAUNCHER = (
    "Traceback (most recent call last):",
    '  File "/env/lib/python3.11/site-packages/accelerate/commands/launch.py", line 1213, in launch_command',
    "    simple_launcher(args)",
    "    raise subprocess.CalledProcessError(returncode=process.returncode, cmd=cmd)",
    "subprocess.CalledProcessError: Command '['python', 'train.py']' returned non-zero exit status 1.",
)


def whole_log(line: str) -> str:
    """A log as it is found: noise before, the launcher's own traceback after."""
    return "\n".join((*NOISE, line, *LAUNCHER)) + "\n"
