/* heaps.cc: two processes hammer one heap in a file: brim's against boost::interprocess::managed_mapped_file, in turns
   in one run; and brim's private and family heaps against its own malloc.

   The work is the same for all: of 2,000 places of its own a process takes one at random, frees what is there and
   allocates anew (16 to 1,024 bytes, first and last byte written); every tenth time it takes one of 500 places that the
   processes share, so that each frees what others allocated.

   heaps [OPERATIONS [ROUNDS]] */
#include <boost/interprocess/managed_mapped_file.hpp>
#include <brim.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr size_t own_places = 2000, shared_places = 500, file_size = 256 << 20;
using offset = uint64_t;

struct board {
    std::atomic<offset> shared[shared_places];
};

[[noreturn]] void fail(const char *what)
{
    fprintf(stderr, "heaps: %s\n", what);
    exit(1);
}

uint64_t next(uint64_t &state)
{
    uint64_t n = state += 0x9e3779b97f4a7c15;
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9;
    n = (n ^ (n >> 27)) * 0x94d049bb133111eb;
    return n ^ (n >> 31);
}

std::string file_name(const char *of) { return "/tmp/brim-bench-heaps-" + std::to_string(getpid()) + of; }

/* Each kind of heap: allocate gives an offset that means the same to all. */
struct boost_file {
    static constexpr bool in_processes = true;
    std::string path = file_name(".boost");
    using mapped_file = boost::interprocess::managed_mapped_file;
    mapped_file *file = nullptr;
    void create() { file = new mapped_file(boost::interprocess::create_only, path.c_str(), file_size); }
    void attach() { file = new mapped_file(boost::interprocess::open_only, path.c_str()); }
    void detach() { delete file; }
    void remove() { unlink(path.c_str()); }
    void *allocate(size_t size) { return file->allocate(size); }
    void release(void *p) { file->deallocate(p); }
    offset offset_of(void *p) { return static_cast<offset>(file->get_handle_from_address(p)); }
    void *pointer(offset at) { return file->get_address_from_handle(static_cast<ptrdiff_t>(at)); }
};

struct mapped_heap {
    static constexpr bool in_processes = true;
    brim_heap_kind kind;
    std::string path = file_name(".brim");
    brim_heap *heap = nullptr;
    void create()
    {
        brim_heap_options options{};
        options.size = sizeof options;
        options.kind = kind;
        options.path = kind == BRIM_HEAP_FILE ? path.c_str() : nullptr;
        if (!(heap = brim_heap_create(&options)))
            fail(brim_heap_strerror(brim_heap_error()));
    }
    void attach()
    {
        if (kind == BRIM_HEAP_FILE && !(heap = brim_heap_open(path.c_str(), BRIM_HEAP_FILE)))
            fail(brim_heap_strerror(brim_heap_error()));
    }
    void detach() { brim_heap_close(heap); }
    void remove() { unlink(path.c_str()); }
    void *allocate(size_t size) { return brim_heap_malloc(heap, size); }
    void release(void *p) { brim_heap_free(heap, p); }
    offset offset_of(void *p) { return brim_heap_offset(heap, p); }
    void *pointer(offset at) { return brim_heap_pointer(heap, at); }
};

struct process_malloc {
    static constexpr bool in_processes = false;
    void *allocate(size_t size) { return malloc(size); }
    void release(void *p) { free(p); }
};

template <class Heap> void *allocate(Heap &heap, uint64_t random)
{
    size_t size = 16 + random % 1009;
    auto *p = static_cast<volatile char *>(heap.allocate(size));
    if (!p)
        fail("no memory");
    p[0] = p[size - 1] = 1;
    return const_cast<char *>(p);
}

template <class Heap> void hammer(Heap &heap, board *board, size_t operations, uint64_t seed)
{
    std::vector<void *> own(own_places, nullptr);
    for (size_t i = 0; i < operations; i++) {
        uint64_t random = next(seed);
        if constexpr (Heap::in_processes) {
            if (board && random % 10 == 0) {
                offset mine = heap.offset_of(allocate(heap, random >> 32));
                if (offset other = board->shared[random / 10 % shared_places].exchange(mine))
                    heap.release(heap.pointer(other));
                continue;
            }
        }
        void *&place = own[random / 10 % own_places];
        if (place)
            heap.release(place);
        place = allocate(heap, random >> 32);
    }
    for (void *p : own)
        if (p)
            heap.release(p);
}

double seconds_since(std::chrono::steady_clock::time_point begin)
{
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/* Nanoseconds per operation of two processes at once; they begin together. */
template <class Heap> double two_processes(Heap heap, size_t operations)
{
    struct start {
        std::atomic<int> ready, go;
        board places;
    };
    auto *shared = static_cast<start *>(
        mmap(nullptr, sizeof(start), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (shared == MAP_FAILED)
        fail("mmap");
    heap.create();
    for (int i = 0; i < 2; i++)
        if (fork() == 0) {
            heap.attach();
            shared->ready++;
            while (!shared->go)
                usleep(100);
            hammer(heap, &shared->places, operations, static_cast<uint64_t>(i) + 1);
            _exit(0);
        }
    while (shared->ready != 2)
        usleep(100);
    auto begin = std::chrono::steady_clock::now();
    shared->go = 1;
    for (int i = 0; i < 2; i++) {
        int status;
        if (wait(&status) < 0 || status != 0)
            fail("a process failed");
    }
    double seconds = seconds_since(begin);
    heap.detach();
    heap.remove();
    munmap(shared, sizeof(start));
    return seconds * 1e9 / static_cast<double>(operations) / 2;
}

template <class Heap> double one_thread(Heap heap, size_t operations)
{
    auto begin = std::chrono::steady_clock::now();
    hammer(heap, nullptr, operations, 1);
    return seconds_since(begin) * 1e9 / static_cast<double>(operations);
}

template <class Heap> double one_thread_of(Heap heap, size_t operations)
{
    heap.create();
    double time = one_thread(heap, operations);
    heap.detach();
    return time;
}

double median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

} // namespace

int main(int count, char **arguments)
{
    size_t operations = count > 1 ? strtoull(arguments[1], nullptr, 0) : 3000000;
    size_t rounds = count > 2 ? strtoull(arguments[2], nullptr, 0) : 7;
    if (operations == 0 || rounds == 0)
        fail("heaps [OPERATIONS [ROUNDS]]");
    std::vector<double> ours, theirs, heap_private, heap_family, own;
    for (size_t round = 0; round < rounds; round++) {
        ours.push_back(two_processes(mapped_heap{BRIM_HEAP_FILE}, operations));
        theirs.push_back(two_processes(boost_file{}, operations / 10)); /* per operation, and it takes its time */
        own.push_back(one_thread(process_malloc{}, operations));
        heap_private.push_back(one_thread_of(mapped_heap{BRIM_HEAP_PRIVATE}, operations));
        heap_family.push_back(one_thread_of(mapped_heap{BRIM_HEAP_FAMILY}, operations));
    }
    int is_brim = brim_owns(malloc(1));
    printf("ns per operation (free and allocate), median of %zu rounds\n", rounds);
    printf("two processes, one file   brim %7.1f   boost %7.1f   boost / brim %.2f\n", median(ours), median(theirs),
           median(theirs) / median(ours));
    double base = median(own), of_private = median(heap_private), of_family = median(heap_family);
    printf("one thread    %s %7.1f   private %7.1f (%.2f)   family %7.1f (%.2f)\n",
           is_brim ? "brim's malloc" : "libc's malloc", base, of_private, of_private / base, of_family, of_family / base);
}
