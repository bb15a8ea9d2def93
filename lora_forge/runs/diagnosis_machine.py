"""Causes that lie in the machine: memory, GPU, driver, disk, network, processes."""

from __future__ import annotations

from lora_forge.errors import EngineError, ForgeError, InvalidInput, OutOfMemory, PlanError, Transient
from lora_forge.runs.diagnosis_row import cause

LESS_GPU_MEMORY = "--set memory.blocks_to_swap=16 (FLUX), --set schedule.batch_size=1 or --set data.resolution=512"
LESS_HOST_MEMORY = "close other programs, --set memory.cache_to_disk=true, or use a machine with more memory"
AFTER_A_KILL = "run it again; if `dmesg | grep -i oom` names it, memory ran out: --set memory.cache_to_disk=true"
FREE_DISK = "free some space (`df -h` shows where), or --run-dir DIR on another disk"
SMALL_SHM = "--set engine.options.max_data_loader_n_workers=0, or give the container more: docker run --shm-size=8g"
RESET_GPU = "run it again; if it comes back, restart the machine and look at `dmesg | grep -i xid`"
VERIFY = "forge engine verify, then forge engine install --force"
SIGNALLED = r"died with <Signals\.{0}: \d+>|exit ?code\s*:\s*-{1}\b|Signal {1} \({0}\)|killed by signal: {2}"

MACHINE_CAUSES = (
    cause(
        "gpu-out-of-memory", OutOfMemory, "the GPU ran out of memory", LESS_GPU_MEMORY,
        r"CUDA out of memory|CUDA error: out of memory|HIP out of memory|torch\.(?:cuda\.)?OutOfMemoryError",
        r"CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|NVML_SUCCESS == r INTERNAL ASSERT",
        r"Error out of memory at line \d+ in file .*bitsandbytes",
        seen="S", source="torch (libc10_cuda), bitsandbytes",
    ),
    cause(
        "shared-memory", ForgeError, "the shared memory in /dev/shm is too small for the data loader", SMALL_SHM,
        r"insufficient shared memory \(shm\)|unable to open shared memory object",
        r"unable to mmap \d+ bytes from file </torch_",
        r"unable to write to file </torch_",
        seen="S", source="torch (data loader)",
    ),
    cause(
        "host-out-of-memory", OutOfMemory, "the machine ran out of memory", LESS_HOST_MEMORY,
        r"DefaultCPUAllocator: (?:can't allocate|not enough) memory|^MemoryError\b",
        r"ArrayMemoryError: Unable to allocate",
        r"\[Errno 12\]|Cannot allocate memory|can't allocate memory|not enough memory:|std::bad_alloc",
        r"Unable to mmap .* \(12\)",
        seen="R", source="torch, numpy, Python",
    ),
    cause(
        "killed-for-memory", OutOfMemory, "the kernel or the job's memory limit ended the trainer", LESS_HOST_MEMORY,
        r"Out of memory: Killed process|Memory cgroup out of memory|oom-kill:|oom_reaper: reaped|invoked oom-killer",
        r"slurmstepd: error: Detected \d+ oom.kill|OOMKilled|Exceeded job memory limit",
        seen="I", source="the kernel's log, Slurm, Kubernetes",
    ),
    cause(
        "preempted", Transient, "the scheduler took the machine away",
        "run it again, with a longer time limit if it ran out",
        r"DUE TO (?:TIME LIMIT|PREEMPTION|NODE FAILURE)|slurmstepd: error: \*\*\* (?:JOB|STEP) \S+ .*CANCELLED",
        seen="I", source="Slurm",
    ),
    cause(
        "disk-full", ForgeError, "the disk is full", FREE_DISK,
        r"No space left on device|\[Errno 28\]|os error 28|Disk quota exceeded|\[Errno 122\]|os error 122",
        r"enforce fail at inline_container\.cc.*(?:unexpected pos|file write failed)",
        r"PytorchStreamWriter failed writing",
        seen="R", source="Python, torch.save, safetensors",
    ),
    cause(
        "read-only", InvalidInput, "the file system is read-only", "--run-dir DIR on a disk that may be written to",
        r"Read-only file system:? ?(?P<file>'[^']*')?|\[Errno 30\]|os error 30",
        seen="R", source="Python, safetensors",
    ),
    cause(
        "mount-lost", Transient, "a disk or network mount went away",
        "look at the mount (`ls` on it), then run it again",
        r"Stale (?:NFS )?file handle|\[Errno 116\]|Input/output error|\[Errno 5\] |Transport endpoint is not connected",
        r"\[Errno 107\]|\[Errno 112\] Host is down|Remote I/O error|\[Errno 121\]|os error (?:116|5|107|112|121)\b",
        seen="R", source="Python's OSError",
    ),
    cause(
        "permission", InvalidInput, "a file or folder may not be read or written: {file}",
        "ls -l on it; chmod or --run-dir DIR",
        r"\[Errno 13\] Permission denied: (?P<file>'[^']*')", r"PermissionError|os error 13\b",
        seen="R", source="Python, safetensors",
    ),
    cause(
        "too-many-files", ForgeError, "too many files were open", "ulimit -n 65536, then run it again",
        r"\[Errno 24\]|Too many open files", seen="R", source="Python, torch (data loader)",
    ),
    cause(
        "gpu-lost", Transient, "the GPU was lost", RESET_GPU,
        r"GPU is lost|has fallen off the bus|NVRM: Xid|Unable to determine the device handle for GPU",
        r"[Uu]ncorrectable ECC error|cudaErrorECCUncorrectable|ECC error encountered|NVML_ERROR_GPU_IS_LOST",
        r"CUDA error: (?:unknown error|the launch timed out|unspecified launch failure|hardware stack error)",
        seen="S", source="CUDA (libcudart), the kernel's log",
    ),
    cause(
        "gpu-busy", Transient, "another process holds the GPU alone", "nvidia-smi shows which; end it or wait",
        r"CUDA-capable device\(?s\)? (?:is/)?are busy or unavailable|CUDA error: device\(s\) is/are in use",
        seen="S", source="CUDA (libcudart)",
    ),
    cause(
        "driver-too-old", EngineError, "the NVIDIA driver is too old for the engine's CUDA",
        "update the driver (550 or later for CUDA 12.4, 570 or later for 12.8), or forge engine install --cuda 12.4",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient for CUDA runtime version",
        r"provided PTX was compiled with an unsupported toolchain",
        r"forward compatibility was attempted on non supported HW",
        seen="S", source="torch (libc10_cuda), CUDA",
    ),
    cause(
        "gpu-not-supported", EngineError, "this build of torch has no code for this GPU",
        "forge engine install --cuda 12.8 (RTX 50, B200); GPUs before the GTX 900 are too old for any",
        r"no kernel image is available for execution on the device|[Cc]uda error.*no kernel image",
        seen="S", source="CUDA (libcudart)",
    ),
    cause(
        "driver-mismatch", EngineError, "the NVIDIA driver and its library differ in version",
        "restart the machine: the driver was updated under a running kernel",
        r"Driver/library version mismatch|NVML: .*version mismatch|CUDA error: system has unsupported display driver",
        seen="I", source="NVML",
    ),
    cause(
        "no-cuda", EngineError, "torch finds no CUDA GPU",
        "nvidia-smi must list it; in a container start with --gpus all; CUDA_VISIBLE_DEVICES must not hide it",
        r"Torch not compiled with CUDA enabled|No CUDA GPUs are available|Found no NVIDIA driver on your system",
        r"CUDA driver initialization failed|Attempting to deserialize object on a CUDA device",
        r"libcuda\.so\.1: cannot open",
        r"ProcessGroupNCCL is only supported with GPUs|CUDA error: no CUDA-capable device is detected",
        r"CUDA error: invalid device ordinal",
        seen="R", source="torch",
    ),
    cause(
        "bf16-unsupported", PlanError, "this GPU cannot compute in bf16", "--set precision.mixed=fp16",
        r"bf16 mixed precision requires PyTorch >= 1\.10 and a supported device|BFloat16 is not supported on this",
        seen="S", source="accelerate (accelerator.py)",
    ),
    cause(
        "fp8-unsupported", PlanError, "an operation does not exist in fp8 here", "--set precision.fp8_base=false",
        r"Promotion for Float8 Types is not supported",
        r"not implemented for 'Float8_e(?:4m3fn|5m2)'|\"\w+\" not implemented for.*Float8",
        seen="R", source="torch; LyCORIS without bypass_mode",
    ),
    cause(
        "nccl", Transient, "the GPUs lost touch with each other", "run it again, with --gpus 1 if it comes back",
        r"NCCL error in|ncclUnhandledCudaError|ncclSystemError|ncclRemoteError",
        r"Watchdog caught collective operation timeout",
        r"DistBackendError|Connection closed by peer \[|Socket Timeout",
        seen="S", source="torch (libtorch_cuda)",
    ),
    cause(
        "port-taken", Transient, "the launcher's port is taken by another training", "run it again",
        r"EADDRINUSE|server socket has failed to listen on any local network address|Address already in use",
        seen="R", source="torch (TCPStore)",
    ),
    cause(
        "gpu-fault", ForgeError, "the GPU computed or addressed something wrong",
        "run it again with CUDA_LAUNCH_BLOCKING=1 in the environment; undo any overclocking",
        r"an illegal memory access was encountered|device-side assert triggered|misaligned address",
        r"an illegal instruction was enc",
        r"CUBLAS_STATUS_(?:NOT_INITIALIZED|EXECUTION_FAILED|INTERNAL_ERROR)",
        r"CUDNN_STATUS_(?:NOT_INITIALIZED|EXECUTION_FAILED)",
        seen="S", source="CUDA (libcudart), cuBLAS, cuDNN",
    ),
    cause(
        "segfault", ForgeError, "the trainer crashed in native code (SIGSEGV)", VERIFY,
        SIGNALLED.format("SIGSEGV", 11, "Segmentation fault"),
        r"Fatal Python error: Segmentation fault|^Segmentation fault",
        seen="R", source="accelerate, Python's faulthandler",
    ),
    cause(
        "bus-error", ForgeError, "the trainer lost the memory behind a file (SIGBUS): /dev/shm or a disk is full",
        SMALL_SHM,
        SIGNALLED.format("SIGBUS", 7, "Bus error"), r"Fatal Python error: Bus error|^Bus error",
        seen="R", source="accelerate, torch (data loader)",
    ),
    cause(
        "illegal-instruction", EngineError, "the engine's binaries need a newer processor (SIGILL)",
        "use another machine",
        SIGNALLED.format("SIGILL", 4, "Illegal instruction"), r"Fatal Python error: Illegal instruction",
        seen="I", source="accelerate",
    ),
    cause(
        "aborted", ForgeError, "a native library gave up (SIGABRT)", VERIFY,
        SIGNALLED.format("SIGABRT", 6, "Aborted"), r"Fatal Python error: Aborted|terminate called after throwing",
        seen="R", source="accelerate",
    ),
    cause(
        "killed", Transient, "the trainer, or forge with it, was killed from outside (SIGKILL)", AFTER_A_KILL,
        SIGNALLED.format("SIGKILL", 9, "Killed"), r"^forge ended before its trainer$",
        r"^Killed\s*$|DataLoader worker \(pid\(s\) [\d, ]+\) exited unexpectedly",
        seen="R", source="accelerate, torchrun, torch (data loader)",
    ),
    cause(
        "terminated", Transient, "somebody or something asked the trainer to end (SIGTERM)", "run it again",
        SIGNALLED.format("SIGTERM", 15, "Terminated"), r"^Terminated\s*$|Received signal 15|Received 15 death signal",
        seen="R", source="accelerate, torchrun",
    ),
)  # fmt: skip
