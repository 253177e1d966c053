// The kernels of nms_cuda.cu, as functions of pointers on a device that start them on a stream; `Suppress` and `Lower`
// are those of rows.h. No header of torch's is seen by nvcc, and none of nvcc's language by the rest.
#pragma once

#include <cuda_runtime_api.h>

#include "rows.h"

namespace hrkit {

// As `compare` and `choose` of bitmask.h; `mask` has room for rows * words_of(rows) words. At least one row.
template <typename T, typename Suppress>
void start_choosing(
    const Suppress& suppresses, const T* scores, const int64_t* order, int64_t rows, uint64_t* mask, uint64_t* gone,
    int64_t* kept, int64_t* count, cudaStream_t stream);

// As `pick_softly` of soft.h.
template <typename T, typename Lower>
void start_picking(
    const Lower& lowered_by, const T* scores, int64_t rows, double least, int64_t most, double* left, int64_t* kept,
    double* kept_scores, int64_t* count, cudaStream_t stream);

// OKS of every pair, (count, other_count). At least one pair.
void start_oks(
    const Poses& ours, int64_t count, const Poses& theirs, int64_t other_count, double* out, cudaStream_t stream);

}  // namespace hrkit
