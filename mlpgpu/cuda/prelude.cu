// What kernels that add up along rows, along columns or over everything share.
#define THREADS 256
#define INFINITE (1e300 * 1e300)
#define NOT_A_NUMBER (INFINITE - INFINITE)

// What no number is above, and none below; of what is true or false, true and false.
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
    template <typename T> static __device__ T put(T a, T b) { return a + b; }
};
struct Prod {
    template <typename T> static __device__ T start() { return T(1); }
    template <typename T> static __device__ T put(T a, T b) { return a * b; }
};
// As NumPy does, an extreme of what is no number is no number.
struct Max {
    template <typename T> static __device__ T start() { return lowest<T>(); }
    template <typename T> static __device__ T put(T a, T b) { return (a >= b || a != a) ? a : b; }
};
struct Min {
    template <typename T> static __device__ T start() { return highest<T>(); }
    template <typename T> static __device__ T put(T a, T b) { return (a <= b || a != a) ? a : b; }
};

// Of a row, which LANES threads next to each other have between them; all of them get it.
template <int LANES, class Op, typename T> __device__ T of_row(T value) {
    // What is shorter than an int comes back as one.
    for (int apart = LANES / 2; apart > 0; apart /= 2)
        value = Op::put(value, (T)__shfl_xor_sync(0xffffffffu, value, apart));
    return value;
}

// Of a block, column by column: thread t < LANES is left with that of column t.
template <int LANES, class Op, typename T> __device__ T of_block(T value, void *shared) {
    T *all = (T *)shared;
    const int tid = threadIdx.x;
    __syncthreads();
    all[tid] = value;
    __syncthreads();
    for (int half = THREADS / 2; half >= LANES; half /= 2) {
        if (tid < half) all[tid] = Op::put(all[tid], all[tid + half]);
        __syncthreads();
    }
    return all[tid % LANES];
}

// What another block has left, past the nearest cache; CUDA has this of numbers alone.
template <typename T> __device__ T left_there(const T *at) { return __ldcg(at); }
template <> __device__ bool left_there(const bool *at) { return __ldcg((const unsigned char *)at); }

// Of all blocks, from what each has left: rows of `parts`, one a block, `step` apart.
template <int LANES, class Op, typename T> __device__ T of_parts(const T *parts, int blocks, int step) {
    T value = Op::template start<T>();
    for (int block = threadIdx.x / LANES; block < blocks; block += THREADS / LANES)
        value = Op::put(value, left_there(parts + (size_t)block * step));
    return value;
}

// Whether this block is the last of several to come here; then it sees what the others wrote before.
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
