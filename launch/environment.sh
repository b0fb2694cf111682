# shellcheck shell=bash disable=SC2034
# Sourced by launch/setup, launch/check and launch/quickstart: where things are, and what programs
# started by them find in their environment. Everything written lies inside the project.

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$project/.venv
logs=$project/.cache/logs
export CCACHE_DIR=$project/.cache/ccache
export PYTHONDONTWRITEBYTECODE=1

# mpirun refuses to run as root, to start more ranks than cores, and pins ranks to cores: all three are
# wrong on a small machine or in a container. The first names are Open MPI 4's, the PRTE ones 5's.
if [ "$(id -u)" = 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
# Ranks outnumber cores here: more than one thread a rank only makes them wait for each other.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=${MKL_NUM_THREADS:-1}

# The one line a failure ends with: what, and what to do.
fail() {
  echo "launch/$(basename "$0"): $*" >&2
  exit 2
}

# phase NAME COMMAND... runs the command and prints how long it took.
phase() {
  local name=$1 began=$SECONDS
  shift
  echo "== $name"
  "$@"
  echo "== $name: done in $((SECONDS - began)) s"
}

# logged FILE COMMAND... keeps the output in logs/FILE and shows its end when the command fails.
logged() {
  local file=$logs/$1
  shift
  mkdir -p "$logs"
  "$@" >"$file" 2>&1 && return 0
  tail -n 25 "$file" >&2
  echo "the whole output is in $file" >&2
  return 1
}

# Compilers that run at once: one a core, but a file that sees ATen takes 1.5 GB.
build_jobs() {
  local cores memory_gb
  cores=$(env -u OMP_NUM_THREADS nproc)  # nproc would obey the one thread a rank gets
  memory_gb=$(awk '/^MemAvailable/ { print int($2 / 1500000) }' /proc/meminfo)
  [ "$memory_gb" -ge 1 ] || memory_gb=1
  echo $((cores < memory_gb ? cores : memory_gb))
}

# build PRESET JOBS [TARGET...] configures and builds one preset.
build() {
  local preset=$1 jobs=$2
  shift 2
  (
    cd "$project" || return 1
    logged "configure-$preset.log" cmake --preset "$preset" || return 1
    logged "build-$preset.log" cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}
  )
}
