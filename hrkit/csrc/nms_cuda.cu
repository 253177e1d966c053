// Suppression of boxes and poses on CUDA devices. The kernels only pass on their block and thread: the algorithm is in
// bitmask.h and rows.h, which the tests run on the CPU, block by block and thread by thread.
// The kernels have been compiled, but never run on a GPU.
#include "bitmask.h"
#include "kernels.h"

namespace hrkit {
namespace {

constexpr int kThreads = 256;  // per block of choose_kernel

struct DeviceBlock {
  static constexpr int64_t threads = kThreads;

  template <typename Function>
  __device__ void phase(Function function) const {
    function(static_cast<int64_t>(threadIdx.x));
    __syncthreads();
  }
};

template <typename Suppress>
__global__ void compare_kernel(Suppress suppresses, int64_t rows, uint64_t* mask) {
  compare(suppresses, rows, blockIdx.x, blockIdx.y, threadIdx.x, mask);
}

template <typename T>
__global__ void choose_kernel(
    const uint64_t* mask, const T* scores, const int64_t* order, int64_t rows, uint64_t* gone, int64_t* kept,
    int64_t* count) {
  __shared__ Choice shared;
  choose(DeviceBlock{}, mask, scores, order, rows, gone, shared, kept, count);
}

}  // namespace

template <typename T, typename Suppress>
void start_choosing(
    const Suppress& suppresses, const T* scores, const int64_t* order, int64_t rows, uint64_t* mask, uint64_t* gone,
    int64_t* kept, int64_t* count, cudaStream_t stream) {
  const dim3 pairs_of_words(words_of(rows), words_of(rows));
  compare_kernel<<<pairs_of_words, kBits, 0, stream>>>(suppresses, rows, mask);
  choose_kernel<<<1, kThreads, 0, stream>>>(mask, scores, order, rows, gone, kept, count);
}

#define HRKIT_START(T, Suppress)        \
  template void start_choosing(         \
      const Suppress&, const T*, const int64_t*, int64_t, uint64_t*, uint64_t*, int64_t*, int64_t*, cudaStream_t);

HRKIT_START(float, BoxesSuppress<float>)
HRKIT_START(double, BoxesSuppress<double>)
HRKIT_START(double, PosesSuppress)

}  // namespace hrkit
