// forms.h: the eight forms of operator new, and for each the three of operator delete that may take its
// blocks back. What holds for one form is tested on all.

#ifndef TESTS_CXX_FORMS_H
#define TESTS_CXX_FORMS_H

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

using Size = std::size_t;
using Align = std::align_val_t;

struct Form {
    bool throws;  // bad_alloc when out of memory; otherwise it returns NULL
    bool aligned; // it takes an alignment, else ignores ours
    bool array;
    void *(*allocate)(Size, Align);
    void (*releases[3])(void *, Size, Align); // plain, sized, nothrow

    void release(void *p, Size size, Align alignment = Align(64)) const { releases[1](p, size, alignment); }
};

inline constexpr Form forms[] = {
    {true, false, false,
     [](Size n, Align) { return ::operator new(n); },
     {[](void *p, Size, Align) { ::operator delete(p); },
      [](void *p, Size n, Align) { ::operator delete(p, n); },
      [](void *p, Size, Align) { ::operator delete(p, std::nothrow); }}},
    {false, false, false,
     [](Size n, Align) { return ::operator new(n, std::nothrow); },
     {[](void *p, Size, Align) { ::operator delete(p); },
      [](void *p, Size n, Align) { ::operator delete(p, n); },
      [](void *p, Size, Align) { ::operator delete(p, std::nothrow); }}},
    {true, false, true,
     [](Size n, Align) { return ::operator new[](n); },
     {[](void *p, Size, Align) { ::operator delete[](p); },
      [](void *p, Size n, Align) { ::operator delete[](p, n); },
      [](void *p, Size, Align) { ::operator delete[](p, std::nothrow); }}},
    {false, false, true,
     [](Size n, Align) { return ::operator new[](n, std::nothrow); },
     {[](void *p, Size, Align) { ::operator delete[](p); },
      [](void *p, Size n, Align) { ::operator delete[](p, n); },
      [](void *p, Size, Align) { ::operator delete[](p, std::nothrow); }}},
    {true, true, false,
     [](Size n, Align a) { return ::operator new(n, a); },
     {[](void *p, Size, Align a) { ::operator delete(p, a); },
      [](void *p, Size n, Align a) { ::operator delete(p, n, a); },
      [](void *p, Size, Align a) { ::operator delete(p, a, std::nothrow); }}},
    {false, true, false,
     [](Size n, Align a) { return ::operator new(n, a, std::nothrow); },
     {[](void *p, Size, Align a) { ::operator delete(p, a); },
      [](void *p, Size n, Align a) { ::operator delete(p, n, a); },
      [](void *p, Size, Align a) { ::operator delete(p, a, std::nothrow); }}},
    {true, true, true,
     [](Size n, Align a) { return ::operator new[](n, a); },
     {[](void *p, Size, Align a) { ::operator delete[](p, a); },
      [](void *p, Size n, Align a) { ::operator delete[](p, n, a); },
      [](void *p, Size, Align a) { ::operator delete[](p, a, std::nothrow); }}},
    {false, true, true,
     [](Size n, Align a) { return ::operator new[](n, a, std::nothrow); },
     {[](void *p, Size, Align a) { ::operator delete[](p, a); },
      [](void *p, Size n, Align a) { ::operator delete[](p, n, a); },
      [](void *p, Size, Align a) { ::operator delete[](p, a, std::nothrow); }}},
};

#endif
