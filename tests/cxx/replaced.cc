// replaced.cc: a program that replaces only some operators gets those in place of the others that C++ defines
// by them, as with libstdc++. Its blocks are not brim's, and handing one to brim would end the program.
//
// Built twice: with the single-object operators replaced, and (REPLACE_ARRAYS) with the array operators.

#include "check.h"
#include "forms.h"

#include <exception>
#include <string>
#include <vector>

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wsized-deallocation" // that the sized ones are left out is the point
#endif

namespace {

constexpr Size header = 4096;
volatile Size impossible = Size{1} << 62;
int allocated, aligned_allocated, released, aligned_released;

// Out of the middle of a block, so that it cannot be taken for brim's own.
void *make(Size size, Align alignment, int &count)
{
    if (size >= impossible || alignment > Align(header))
        throw std::bad_alloc();
    char *block = static_cast<char *>(std::aligned_alloc(header, header + size));
    if (!block)
        throw std::bad_alloc();
    count++;
    return block + header;
}

void unmake(void *p, int &count)
{
    if (p) {
        count++;
        std::free(static_cast<char *>(p) - header);
    }
}

} // namespace

#ifdef REPLACE_ARRAYS
constexpr bool arrays_only = true;
void *operator new[](Size size) { return make(size, Align(16), allocated); }
void *operator new[](Size size, Align align) { return make(size, align, aligned_allocated); }
void operator delete[](void *p) noexcept { unmake(p, released); }
void operator delete[](void *p, Align) noexcept { unmake(p, aligned_released); }
#else
constexpr bool arrays_only = false;
void *operator new(Size size) { return make(size, Align(16), allocated); }
void *operator new(Size size, Align align) { return make(size, align, aligned_allocated); }
void operator delete(void *p) noexcept { unmake(p, released); }
void operator delete(void *p, Align) noexcept { unmake(p, aligned_released); }
#endif

int main()
{
    require_expected_allocator();
    for (const Form &form : forms) {
        const int expected = form.array || !arrays_only ? 1 : 0;
        for (auto release : form.releases) {
            int &made = form.aligned ? aligned_allocated : allocated;
            int &unmade = form.aligned ? aligned_released : released;
            allocated = aligned_allocated = released = aligned_released = 0;
            void *p = opaque(form.allocate(100, Align(64)));
            CHECK(p && is_aligned(p, form.aligned ? 64 : 16));
            CHECK(made == expected && allocated + aligned_allocated == expected);
            std::memset(p, 1, 100);
            release(p, 100, Align(64));
            CHECK(unmade == expected && released + aligned_released == expected);
        }
        // The replacement throws; a nothrow form that stands on it does not.
        try {
            CHECK(form.allocate(impossible, Align(64)) == nullptr && !form.throws);
        } catch (const std::bad_alloc &) {
            CHECK(form.throws);
        }
        CHECK(std::uncaught_exceptions() == 0);
    }

    // What the library allocates goes the same way.
    allocated = released = 0;
    {
        std::vector<std::string> strings(10, std::string(100, 'x'));
        CHECK(strings.back().size() == 100);
    }
    CHECK(allocated == released && (allocated > 10) == !arrays_only);
    return 0;
}
