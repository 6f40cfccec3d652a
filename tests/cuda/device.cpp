// A device on the host. The threads of a few blocks take turns, each up to the next barrier or shuffle of its block, in
// an order that can be chosen. A data race, two unordered accesses to the same memory, aborts the program.
#include "device.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <setjmp.h>
#include <ucontext.h>
#include <unordered_map>
#include <vector>

namespace {
constexpr int N = 256, STACK = 1 << 16, SIDE_BY_SIDE = 3;

// The thread of an access, and how many barriers its block had passed before.
struct Deed { int block = -1, thread = 0; long meetings = 0; };
struct Thread {
    // Its stack and the place where it continues, once it has begun.
    std::unique_ptr<char[]> stack;
    jmp_buf place;
    Deed now;
    // Its exchanges in shuffles so far, and the barriers that its block had passed at its last fence.
    long exchanges, fenced;
    // Whether it has ended; has no row, and only takes part in barriers and shuffles; has written since its last fence.
    bool over, idle, unfenced;
};
struct Block {
    double shared[N], exchanged[N];
    Thread threads[N];
    std::vector<int> ready;
    // By other block whose arrival at a counter this one has seen: the barriers that the other one had passed when it
    // arrived, and this one when it saw that.
    std::map<int, std::pair<long, long>> seen;
};
// Only a few readers are kept: at least one of them is another thread than the next writer.
struct Cell { Deed writer, readers[4]; int n_readers = 0; };

jmp_buf scheduler;
Block slots[SIDE_BY_SIDE], *block;
void (*kernel)(void **);
void **addresses;
std::unordered_map<uintptr_t, Cell> cells;
std::map<void *, std::vector<Deed>> counted;
std::mt19937 drawn;
// 0: threads and blocks from first to last; 1: from last to first; else the seed of a random order, in which blocks take
// turns too.
unsigned int order;

Thread &own() { return block->threads[threadIdx.x]; }

bool is_before(const Deed &deed, const Deed &now) {
    if (deed.block == now.block) return deed.thread == now.thread || deed.meetings < now.meetings;
    const auto found = block->seen.find(deed.block);
    return found != block->seen.end() && deed.meetings < found->second.first && now.meetings > found->second.second;
}

// Back to the scheduler. Unlike swapcontext, jumps make no system calls.
void meet() {
    if (!_setjmp(own().place)) _longjmp(scheduler, 1);
}

// What runs on the stack of a thread: its part of one kernel after the other.
void run_thread() {
    for (;;) {
        kernel(addresses);
        own().over = true;
        meet();
    }
}

// Lets the current thread run up to its next `meet`.
void resume() {
    if (_setjmp(scheduler)) return;
    if (own().stack) _longjmp(own().place, 1);
    own().stack.reset(new char[STACK]);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = own().stack.get();
    context.uc_stack.ss_size = STACK;
    makecontext(&context, run_thread, 0);
    setcontext(&context);
}

void begin(Block &slot, int number) {
    // Shared memory is uninitialised on a device; NaN shows where a kernel relies on it.
    std::fill(slot.shared, slot.shared + N, NAN);
    slot.seen.clear();
    for (int t = 0; t < N; ++t) {
        Thread &thread = slot.threads[t];
        thread.now = {number, t, 0};
        thread.fenced = -1;
        thread.exchanges = thread.over = thread.idle = thread.unfenced = 0;
    }
}

// Runs one thread of a block up to its next barrier or shuffle, and returns whether the block has ended.
bool step(Block &of) {
    if (of.ready.empty()) {
        of.ready.resize(N);
        std::iota(of.ready.begin(), of.ready.end(), 0);
        if (order == 0) std::reverse(of.ready.begin(), of.ready.end());
        if (order > 1) std::shuffle(of.ready.begin(), of.ready.end(), drawn);
    }
    block = &of;
    threadIdx.x = of.ready.back();
    of.ready.pop_back();
    blockIdx.x = own().now.block;
    resume();
    if (!of.ready.empty()) return false;
    // On a device, a barrier that some threads do not reach is a deadlock.
    const Thread &first = of.threads[0];
    for (const Thread &one : of.threads)
        if (one.now.meetings != first.now.meetings || one.exchanges != first.exchanges || one.over != first.over)
            host::fail("does not meet the others");
    return first.over;
}
}  // namespace

Place threadIdx, blockIdx;

namespace host {
void launch(unsigned int in_order, int blocks, void (*of)(void **), void **with) {
    order = in_order, kernel = of, addresses = with;
    std::vector<int> left(blocks);
    std::iota(left.begin(), left.end(), 0);
    drawn.seed(order);
    if (order == 0) std::reverse(left.begin(), left.end());
    if (order > 1) std::shuffle(left.begin(), left.end(), drawn);
    cells.clear();
    counted.clear();
    std::vector<Block *> running, free;
    for (int n = order > 1 ? SIDE_BY_SIDE : 1; n-- > 0;) free.push_back(&slots[n]);
    while (!left.empty() || !running.empty()) {
        for (; !left.empty() && !free.empty(); left.pop_back(), free.pop_back()) {
            begin(*free.back(), left.back());
            running.push_back(free.back());
        }
        const size_t turn = drawn() % running.size();
        if (step(*running[turn])) {
            free.push_back(running[turn]);
            running.erase(running.begin() + turn);
        }
    }
}

double *shared() { return block->shared; }
void *exchanged(int thread) { return &block->exchanged[thread]; }

bool is_on(bool on) {
    own().idle = !on;
    return on;
}

void reads(const void *at, bool past_cache) {
    // A thread without a row does not use what it reads.
    if (own().idle) return;
    Cell &cell = cells[(uintptr_t)at];
    const Deed now = own().now, writer = cell.writer;
    if (writer.block >= 0 && !is_before(writer, now)) fail("reads what another thread writes");
    if (writer.block >= 0 && writer.block != now.block) {
        if (!past_cache) fail("reads of its cache what others wrote");
        if (own().fenced <= block->seen[writer.block].second) fail("reads before a fence what others wrote");
    }
    for (Deed *reader = cell.readers; reader < cell.readers + cell.n_readers; ++reader)
        if (reader->block == now.block && reader->thread == now.thread) return void(*reader = now);
    if (cell.n_readers < 4) cell.readers[cell.n_readers++] = now;
}

void writes(const void *at) {
    Cell &cell = cells[(uintptr_t)at];
    const Deed now = own().now;
    if (own().idle) fail("writes past the end");
    if (cell.writer.block >= 0 && !is_before(cell.writer, now)) fail("writes what another thread writes");
    for (int n = 0; n < cell.n_readers; ++n)
        if (!is_before(cell.readers[n], now)) fail("writes what another thread reads");
    cell.writer = now, cell.n_readers = 0;
    own().unfenced = true;
}

void fail(const char *what) {
    std::fprintf(stderr, "block %d, thread %d: %s\n", blockIdx.x, threadIdx.x, what);
    std::abort();
}

void meet_for_exchange() {
    ++own().exchanges;
    meet();
}
}  // namespace host

void __syncthreads() {
    own().idle = false;
    ++own().now.meetings;
    meet();
}

void __threadfence() {
    own().unfenced = false;
    own().fenced = own().now.meetings;
}

unsigned int atomicAdd(unsigned int *p, unsigned int by) {
    const Deed now = own().now;
    for (const Thread &thread : block->threads)
        if (thread.unfenced) host::fail("is counted before others can see what it wrote");
    for (const Deed &other : counted[p]) block->seen[other.block] = {other.meetings, now.meetings};
    counted[p].push_back(now);
    const unsigned int before = *p;
    *p += by;
    return before;
}
