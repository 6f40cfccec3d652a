// A device on the host: the threads of a block take turns, each up to the next place where all of them meet.
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(n)
// One block runs at a time.
#define __shared__ static

struct Place { int x = 0; };
static Place threadIdx, blockIdx;

namespace host {
constexpr int N = 256, STACK = 1 << 16;
static ucontext_t scheduler, threads[N];
static bool alive[N];
static long meetings[N];
static double exchanged[N];
static std::function<void()> body;
static std::vector<char> stacks(size_t(N) * STACK);

inline void meet() {
    const int own = threadIdx.x;
    ++meetings[own];
    swapcontext(&threads[own], &scheduler);
    threadIdx.x = own;
}
inline void run_thread() {
    const int own = threadIdx.x;
    body();
    alive[own] = false;
}
inline void launch(int blocks) {
    for (int block = 0; block < blocks; ++block) {
        blockIdx.x = block;
        for (int t = 0; t < N; ++t) {
            alive[t] = true;
            meetings[t] = 0;
            getcontext(&threads[t]);
            threads[t].uc_stack.ss_sp = &stacks[size_t(t) * STACK];
            threads[t].uc_stack.ss_size = STACK;
            threads[t].uc_link = &scheduler;
            makecontext(&threads[t], run_thread, 0);
        }
        for (bool any = true; any;) {
            any = false;
            for (int t = 0; t < N; ++t) {
                if (!alive[t]) continue;
                threadIdx.x = t;
                swapcontext(&scheduler, &threads[t]);
                any = any || alive[t];
            }
            // On a device, a thread that stays away keeps the others waiting for ever.
            for (int t = 1; t < N; ++t)
                if (meetings[t] != meetings[0] || alive[t] != alive[0]) {
                    std::fprintf(stderr, "the threads of a block do not all meet\n");
                    std::abort();
                }
        }
    }
}
}  // namespace host

inline void __syncthreads() { host::meet(); }
inline void __threadfence() {}
template <typename T> T __ldcg(const T *p) { return *p; }
inline unsigned int atomicAdd(unsigned int *p, unsigned int by) {
    const unsigned int before = *p;
    *p += by;
    return before;
}
template <typename T> T __shfl_xor_sync(unsigned int, T value, int apart) {
    const int own = threadIdx.x;
    std::memcpy(&host::exchanged[own], &value, sizeof(T));
    host::meet();
    T other;
    std::memcpy(&other, &host::exchanged[own ^ apart], sizeof(T));
    host::meet();
    return other;
}
