#!/bin/sh
# Runs Python with the compiled module of a folder that was built under sanitizers: PYTHON FOLDER ARGUMENTS…
#
# An environment of its own sees the packages of PYTHON's one, but not its layerwise: the sources and the module are
# copied beside them. The sanitizers must be there before anything else is loaded, and the library of exceptions too.
set -eu
python=$1 folder=$2
shift 2
env=$folder/env
"$python" -m venv --without-pip "$env"
packages=$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$packages/parent.pth"
rm -rf "$packages/layerwise"
cp -R src/layerwise "$packages/layerwise"
cp "$folder"/address/_native*.so "$packages/layerwise/"
library() {
    ${CXX:-c++} -print-file-name="$1"
}
LD_PRELOAD="$(library libasan.so) $(library libubsan.so) $(library libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
    OPENBLAS_NUM_THREADS=1 exec "$env/bin/python" "$@"
