// Device functions of kernels with reductions.
#define THREADS 256
#define INFINITE (1e300 * 1e300)
#define NOT_A_NUMBER (INFINITE - INFINITE)

// The largest and the smallest value of a type; true and false of bool.
template <typename T> __device__ T highest() {
    return T(-1) < T(0) ? T((1ull << (8 * sizeof(T) - 1)) - 1) : T(-1);
}
template <> __device__ float highest<float>() { return INFINITE; }
template <> __device__ double highest<double>() { return INFINITE; }
template <typename T> __device__ T lowest() { return T(-1) < T(0) ? T(1ull << (8 * sizeof(T) - 1)) : T(0); }
template <> __device__ float lowest<float>() { return -INFINITE; }
template <> __device__ double lowest<double>() { return -INFINITE; }

struct Sum {
    template <typename T> static __device__ T start() { return T(0); }
    template <typename T> static __device__ T apply(T a, T b) { return a + b; }
};
struct Prod {
    template <typename T> static __device__ T start() { return T(1); }
    template <typename T> static __device__ T apply(T a, T b) { return a * b; }
};
// Max and Min propagate NaN, as in NumPy.
struct Max {
    template <typename T> static __device__ T start() { return lowest<T>(); }
    template <typename T> static __device__ T apply(T a, T b) { return (a >= b || a != a) ? a : b; }
};
struct Min {
    template <typename T> static __device__ T start() { return highest<T>(); }
    template <typename T> static __device__ T apply(T a, T b) { return (a <= b || a != a) ? a : b; }
};

// Reduces a value over the LANES adjacent threads that share a row; all of them get the result.
template <int LANES, class Op, typename T> __device__ T reduce_row(T value) {
    // The shuffle returns types shorter than int as int.
    for (int distance = LANES / 2; distance > 0; distance /= 2)
        value = Op::apply(value, (T)__shfl_xor_sync(0xffffffffu, value, distance));
    return value;
}

// Reduces a value over a block, column by column: thread t < LANES gets the result of column t.
template <int LANES, class Op, typename T> __device__ T reduce_block(T value, void *shared) {
    T *all = (T *)shared;
    const int tid = threadIdx.x;
    __syncthreads();
    all[tid] = value;
    __syncthreads();
    for (int half = THREADS / 2; half >= LANES; half /= 2) {
        if (tid < half) all[tid] = Op::apply(all[tid], all[tid + half]);
        __syncthreads();
    }
    return all[tid % LANES];
}

// Loads what another block has stored, bypassing the L1 cache. CUDA has no __ldcg of bool.
template <typename T> __device__ T load_l2(const T *at) { return __ldcg(at); }
template <> __device__ bool load_l2(const bool *at) { return __ldcg((const unsigned char *)at); }

// Combines partial results of all blocks: one row of `partials` per block, `step` elements apart.
template <int LANES, class Op, typename T> __device__ T reduce_partials(const T *partials, int blocks, int step) {
    T value = Op::template start<T>();
    for (int block = threadIdx.x / LANES; block < blocks; block += THREADS / LANES)
        value = Op::apply(value, load_l2(partials + (size_t)block * step));
    return value;
}

// Whether this block is the last of `blocks` to arrive; it then sees all that the others have stored.
__device__ bool is_last(unsigned int *arrived, unsigned int blocks, void *shared) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        const bool last = atomicAdd(arrived, 1u) == blocks - 1;
        if (last) *arrived = 0;
        *(bool *)shared = last;
    }
    __syncthreads();
    const bool last = *(bool *)shared;
    __syncthreads();
    if (last) __threadfence();
    return last;
}
