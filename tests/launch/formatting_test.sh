#!/usr/bin/env bash
# usage: formatting_test.sh PROJECT: fails, naming the files, unless the pinned clang-format would leave
# every C++ and CUDA file as it is.
set -euo pipefail
cd "$1"
# The program itself: the script of that name in .venv/bin starts a Python for every call.
formatter=$(echo .venv/lib/python3*/site-packages/clang_format/data/bin/clang-format)
[ -x "$formatter" ] || { echo "Failure: no $formatter: run launch/setup"; exit 1; }
mapfile -t files < <(find csrc comm cuda launch tests benchmarks -name '*.h' -o -name '*.cpp' -o -name '*.cu' \
  -o -name '*.cuh' | sort)
[ ${#files[@]} -gt 50 ] || { echo "Failure: only ${#files[@]} files found: wrong place"; exit 1; }
said=$("$formatter" --dry-run -Werror "${files[@]}" 2>&1) && exit 0
mapfile -t wrong < <(grep -oE '^[^:]+:[0-9]+:[0-9]+: error' <<<"$said" | cut -d : -f 1 | sort -u)
echo "Failure: ${#wrong[@]} files are not formatted; run: $formatter -i ${wrong[*]}"
exit 1
