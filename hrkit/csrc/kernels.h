// The kernels of nms_cuda.cu behind a plain function: nvcc sees no header of torch, and the other files no CUDA syntax.
#pragma once

#include <cuda_runtime_api.h>

#include "rows.h"

namespace hrkit {

// Starts `compare` and `choose` of bitmask.h on a stream, for at least one row. All pointers are on the device; `mask`
// has room for rows * words_of(rows) words. `Suppress` is one of rows.h.
template <typename T, typename Suppress>
void start_choosing(
    const Suppress& suppresses, const T* scores, const int64_t* order, int64_t rows, uint64_t* mask, uint64_t* gone,
    int64_t* kept, int64_t* count, cudaStream_t stream);

}  // namespace hrkit
