"""Prints what the GPU kernels move and what their machine code needs, as benchmarks/results/k_kernels.md.

usage: kernels.py --build DIR [--compare FILE]
  --build DIR     a build folder with bin/kernel_traffic and the target kernel_statics built
  --compare FILE  print where the table differs from FILE, and fail if it does

Registers are those of one version of nvcc: with another one, only the goals are checked. The goals, which
fail whatever the version: nothing spilled (K2); every bulk access 16 bytes wide (K3); room for half of a
multiprocessor's threads, or an entry in REASONS (K4).
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

GENERATIONS = (75, 80, 86, 89, 90, 100, 120)

# CUDA C++ Programming Guide 13.0, "Technical Specifications per Compute Capability": threads, blocks and bytes of
# shared memory of a multiprocessor. Every one has 65,536 registers, given to warps in steps of 256.
LIMITS = {
    75: (1024, 16, 64 << 10),
    80: (2048, 32, 164 << 10),
    86: (1536, 16, 100 << 10),
    89: (1536, 24, 100 << 10),
    90: (2048, 32, 228 << 10),
    100: (2048, 32, 228 << 10),
    120: (1536, 24, 100 << 10),
}
REGISTERS, REGISTER_STEP, WARP = 65536, 256, 32

# How each kernel is launched at its usual width: threads of a block, bytes of dynamic shared memory.
BLOCKS = {
    "norm_forward_kernel": (512, 0),
    "norm_backward_kernel": (512, 0),
    "cross_entropy_kernel": (1024, 0),
    "gather_kernel": (512, 0),
    "gradient_kernel": (512, 0),
    "embedding_backward_kernel": (128, 0),
}
BLOCK = (256, 0)

REASONS = {
    "adamw_kernel": "eight 16-byte loads a thread are on their way at once: 96 KiB a multiprocessor with three blocks",
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--compare", type=Path)
    return parser.parse_args()


def short_name(mangled):
    """The kernel and its template arguments, without namespaces."""
    name = subprocess.run(["c++filt", mangled], capture_output=True, text=True, check=True).stdout.strip()
    name = re.sub(r"_GLOBAL__N__\w+::|\(anonymous namespace\)::|kente::cuda::|^void ", "", name)
    name = name.split(">(")[0] + ">" if "<" in name.split("(")[0] else name.split("(")[0]
    for long, short in (("__nv_bfloat16", "bf16"), ("__half", "f16"), ("float", "f32")):
        name = name.replace(long, short)
    return re.sub(r"\((\w+)\)", r"\1 ", name)


def read_statics(folder):
    """{(kernel, generation): (registers, bytes of shared memory, spilled bytes)}"""
    found = {}
    for path in sorted(folder.glob("*.ptxas")):
        key = spilled = None
        for line in path.read_text().splitlines():
            if match := re.search(r"Compiling entry function '(\w+)' for 'sm_(\d+)'", line):
                key = short_name(match[1]), int(match[2])
            elif match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
                spilled = int(match[1]) + int(match[2])
            elif match := re.search(r"Used (\d+) registers", line):
                shared = re.search(r"(\d+) bytes smem", line)
                found[key] = int(match[1]), int(shared[1]) if shared else 0, spilled
    return found


def occupancy(kernel, generation, registers, shared):
    """The share of a multiprocessor's threads that can be there at once."""
    threads, dynamic = BLOCKS.get(kernel.split("<")[0], BLOCK)
    most_threads, most_blocks, most_shared = LIMITS[generation]
    of_warp = -(-registers * WARP // REGISTER_STEP) * REGISTER_STEP
    reserved = 0 if generation == 75 else 1024
    blocks = min(
        most_threads // threads,
        most_blocks,
        REGISTERS // of_warp // (threads // WARP),
        most_shared // (shared + dynamic + reserved) if shared + dynamic + reserved else most_blocks,
    )
    return blocks * threads / most_threads


def statics_table(statics):
    """Lines, and what misses a goal."""
    kernels = sorted({kernel for kernel, _ in statics})
    lines = ["| kernel | " + " | ".join(f"sm_{g}" for g in GENERATIONS) + " |", "|---" * (len(GENERATIONS) + 1) + "|"]
    missed = []
    for kernel in kernels:
        cells = []
        for generation in GENERATIONS:
            if (kernel, generation) not in statics:
                missed.append(f"{kernel} was not compiled for sm_{generation}")
                continue
            registers, shared, spilled = statics[kernel, generation]
            share = occupancy(kernel, generation, registers, shared)
            cells.append(f"{registers}, {100 * share:.0f} %")
            if spilled:
                missed.append(f"{kernel} spills {spilled} bytes on sm_{generation}")
            if share < 0.5 and kernel.split("<")[0] not in REASONS:
                missed.append(f"{kernel} fills only {100 * share:.0f} % of sm_{generation}, and REASONS has no word")
        lines.append(f"| `{kernel}` | " + " | ".join(cells) + " |")
    return lines, missed


def summary(statics):
    spilled = sum(value[2] for value in statics.values())
    shares = [(occupancy(*key, *value[:2]), *key) for key, value in statics.items()]
    least, kernel, generation = min(share for share in shares if share[1].split("<")[0] not in REASONS)
    return (
        f"{len({kernel for kernel, _ in statics})} kernels for {len(GENERATIONS)} generations: {spilled} bytes spilled;"
        f" the fewest threads at once are {100 * least:.0f} % of sm_{generation}, of {kernel}"
    )


def traffic_table(build):
    done = subprocess.run([build / "bin/kernel_traffic"], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    missed = [f"not every access is 16 bytes wide: {line}" for line in lines[2:] if line.split(" | ")[3] != "100 %"]
    return lines, missed


def nvcc_version(build):
    cache = (build / "CMakeCache.txt").read_text()
    nvcc = re.search(r"^KENTE_NVCC:FILEPATH=(.+)$", cache, re.MULTILINE)[1]
    said = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V(\d+\.\d+\.\d+)", said)[1]


def main():
    arguments = parse_arguments()
    if not shutil.which("c++filt"):
        sys.exit("kernels.py: c++filt is not there: install binutils")
    statics = read_statics(arguments.build / "cuda")
    if not statics:
        sys.exit(f"kernels.py: no *.ptxas in {arguments.build / 'cuda'}: build the target kernel_statics")
    traffic, missed = traffic_table(arguments.build)
    table, missed_statics = statics_table(statics)
    version = nvcc_version(arguments.build)
    text = "\n".join(
        [
            "# K1-K4: the GPU kernels, without a GPU",
            "",
            "`cmake --build --preset cpu --target kernel_traffic kernel_statics && .venv/bin/python"
            " benchmarks/kernels.py --build build/cpu`",
            "",
            "**K1, K3.** Every kernel's own source run on the CPU, its loads and stores of bulk tensors counted"
            " (bf16 activations; M tokens, D = 4,096, F = 11,008, V = 128,256). Caches are not modelled. Weights of a"
            " norm, statistics, positions, scales of blocks and partial sums are left out: they are small where M is"
            " large. Whole sectors: of the 32-byte sectors that a warp's access touches, how many its bytes need.",
            "",
            *traffic,
            "",
            "Cross-entropy with less shared memory: a row of 128,256 logits in bf16 is 250 KiB, of which registers hold"
            " 64; the rest fits beside them on sm_90 and sm_100 only and is loaded a second time elsewhere.",
            "",
            f"**K2, K4.** nvcc {version}, -O3: registers a thread, and the share of a multiprocessor's threads that"
            " registers and shared memory leave room for. Nothing is spilled by any kernel on any generation (K2).",
            "",
            *table,
            "",
            *(f"Below half of the threads: `{kernel}`: {reason}." for kernel, reason in sorted(REASONS.items())),
            "",
        ]
    )
    missed += missed_statics
    for line in missed:
        print(f"kernels.py: {line}", file=sys.stderr)
    if not arguments.compare:
        print(text, end="")
        sys.exit(bool(missed))
    recorded = arguments.compare.read_text()
    if f"nvcc {version}," not in recorded:
        print(f"nvcc is {version}, of which {arguments.compare.name} has no registers: only the goals were checked")
    elif text != recorded:
        was, now = recorded.splitlines(), text.splitlines()
        for line in [f"- {line}" for line in was if line not in now] + [f"+ {line}" for line in now if line not in was]:
            print(line)
        sys.exit(f"kernels.py: {arguments.compare} is another table; if that is meant, record the new one")
    print("\n".join(traffic))
    print(summary(statics))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
