// exhaustion.cc: out of memory in C++, for requests that can never be met and for memory that is really used
// up. What is live stays intact, and the allocator serves again as soon as memory is back.

#include "check.h"
#include "forms.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace {

constexpr Size mib = Size{1} << 20;
constexpr Align alignment = Align(4096);

bool fails_properly(const Form &form, Size size, Align align)
{
    try {
        void *p = opaque(form.allocate(size, align));
        return !form.throws && p == nullptr;
    } catch (const std::bad_alloc &) {
        return form.throws;
    }
}

void test_impossible_sizes()
{
    volatile Size most = SIZE_MAX;
    for (const Form &form : forms)
        for (Size size : {most + 0, most - 15, most - 4096, most / 2 + 1, most / 2, most / 4})
            for (Align align : {Align(16), Align(4096), Align(Size{1} << 30)})
                CHECK(fails_properly(form, size, align));
    for (const Form &form : forms)
        if (form.aligned)
            for (Size shift : {47, 62, 63})
                CHECK(fails_properly(form, 1, Align(Size{1} << shift)));
}

// Undefined in C++; a failed allocation in libstdc++, and here.
void test_impossible_alignments()
{
    volatile Size wrong[] = {0, 3, 24, 4097, SIZE_MAX};
    for (const Form &form : forms)
        if (form.aligned)
            for (Size align : wrong)
                CHECK(fails_properly(form, 100, Align(align)));
}

template <typename Exception, typename Element> bool count_throws(long count)
{
    volatile long n = count;
    try {
        Element *array = new Element[n];
        opaque(array);
        delete[] array;
    } catch (const Exception &) {
        return true;
    }
    return false;
}

struct Large {
    ~Large() { payload[0] = 1; }
    char payload[1000];
};

// GCC throws bad_array_new_length before any operator is called; but for an array that keeps its count it
// asks operator new[] for SIZE_MAX bytes, as Clang always does.
#ifdef __clang__
using BadLength = std::bad_alloc;
#else
using BadLength = std::bad_array_new_length;
#endif

void test_array_length()
{
    constexpr long most = std::numeric_limits<long>::max();
    for (long n : {-1L, -2L, -1000000L, -most - 1, most, most / 4 + 1}) {
        CHECK((count_throws<BadLength, int>(n)));
        CHECK((count_throws<std::bad_alloc, Large>(n)));
    }
    CHECK((count_throws<std::bad_alloc, Large>(most / 1000 + 1)));
    CHECK((!count_throws<std::bad_alloc, int>(0) && !count_throws<std::bad_alloc, Large>(1000)));
}

struct Block {
    Block *next;
    Size size;
    unsigned char bytes[]; // all `size & 255`
};

// Uses up all there is, with a list that needs no memory of its own; checks every byte; gives it back.
Size use_up(const Form &form, Size smallest, Size largest)
{
    Block *blocks = nullptr;
    Size count = 0, size = smallest;
    for (bool failed = false; !failed;) {
        void *p = nullptr;
        try {
            p = form.allocate(sizeof(Block) + size, alignment);
            failed = p == nullptr;
            CHECK(!failed || !form.throws);
        } catch (const std::bad_alloc &) {
            CHECK(form.throws);
            failed = true;
        }
        if (!failed) {
            CHECK(brim_owns(p));
            Block *block = static_cast<Block *>(p);
            block->next = blocks;
            block->size = size;
            std::memset(block->bytes, static_cast<int>(size & 255), size);
            blocks = block;
            count++;
            size = size >= largest ? smallest : size + size / 3 + 1;
        }
    }
    while (blocks) {
        Block *block = blocks;
        blocks = block->next;
        CHECK(is_filled(block->bytes, block->size, block->size & 255));
        form.release(block, sizeof(Block) + block->size, alignment);
    }
    return count;
}

void test_exhausted()
{
    limit_address_space(64 * mib);
    for (const Form &form : forms) {
        const Size small = use_up(form, 40, 3000), large = use_up(form, 100000, 10 * mib);
        CHECK(small > 1000 && large > 4);
        // All of it came back, whichever sizes it was cut into before.
        CHECK(use_up(form, 40, 3000) >= small - small / 8);
        void *p = form.allocate(24 * mib, alignment);
        CHECK(p);
        form.release(p, 24 * mib, alignment);
    }
}

// The library's own allocations report it as C++ says they do.
void test_containers()
{
    std::vector<std::string> kept;
    bool thrown = false;
    try {
        for (;;)
            kept.push_back(std::string(100000, 'x'));
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    CHECK(thrown && kept.size() > 100);
    for (const std::string &text : kept)
        CHECK(text.size() == 100000 && text.find_first_not_of('x') == std::string::npos);
    kept.clear();
    kept.shrink_to_fit();
    CHECK(std::string(20 * mib, 'y').size() == 20 * mib);
}

} // namespace

int main()
{
    require_expected_allocator();
    test_impossible_sizes();
    test_impossible_alignments();
    test_array_length();
    test_exhausted();
    test_containers();
    return 0;
}
