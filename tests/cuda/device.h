// What kernels use of CUDA, implemented on the host; see device.cpp.
#include <cmath>
#include <cstddef>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(n)

struct Place { int x; };
extern Place threadIdx, blockIdx;

namespace host {
void launch(unsigned int order, int blocks, void (*kernel)(void **), void **addresses);
double *shared();
void *exchanged(int thread);
// Notes whether the current thread has a row, and returns it.
bool is_on(bool on);
void reads(const void *at, bool past_cache);
void writes(const void *at);
void fail(const char *what);
void meet_for_exchange();

template <typename T> struct Element {
    T *at;
    operator T() const {
        reads(at, false);
        return *at;
    }
    void operator=(T value) const {
        writes(at);
        *at = value;
    }
};
// Memory of `n` elements; `n` is negative if unknown.
template <typename T> struct Memory {
    T *at;
    long long n;
    Element<T> operator[](long long place) const {
        if (place < 0 || (n >= 0 && place >= n)) fail("is out of bounds");
        return {at + place};
    }
    operator T *() const { return at; }
};
}  // namespace host

void __syncthreads();
void __threadfence();
unsigned int atomicAdd(unsigned int *p, unsigned int by);
template <typename T> T __ldcg(const T *p) {
    static_assert(!std::is_same<T, bool>::value, "CUDA has none of what is true or false");
    host::reads(p, true);
    return *p;
}
template <typename T> T __shfl_xor_sync(unsigned int, T value, int apart) {
    const int own = threadIdx.x;
    std::memcpy(host::exchanged(own), &value, sizeof(T));
    host::meet_for_exchange();
    T other;
    std::memcpy(&other, host::exchanged(own ^ apart), sizeof(T));
    host::meet_for_exchange();
    return other;
}
