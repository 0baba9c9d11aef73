// operators.cc: every form of operator new and delete gives and takes brim's blocks, of the size and
// alignment asked for; so do new-expressions and the containers of the standard library.

#include "check.h"
#include "forms.h"

#include <deque>
#include <map>
#include <memory>
#include <memory_resource>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace {

// Two blocks at a time, so that one that is too small or given out twice shows in the other.
void exercise(const Form &form, Size size, Size alignment)
{
    const Align align = Align(alignment);
    const Size promised = form.aligned ? alignment : Size{__STDCPP_DEFAULT_NEW_ALIGNMENT__};
    for (auto release : form.releases) {
        void *a = opaque(form.allocate(size, align)), *b = opaque(form.allocate(size, align));
        CHECK(a && b && a != b);
        CHECK(brim_owns(a) && brim_owns(b));
        CHECK(is_aligned(a, promised) && is_aligned(b, promised));
        std::memset(a, 0xa5, size);
        std::memset(b, 0x5a, size);
        CHECK(is_filled(a, size, 0xa5));
        release(a, size, align);
        CHECK(is_filled(b, size, 0x5a));
        release(b, size, align);
    }
}

void test_every_form()
{
    for (const Form &form : forms) {
        for (Size size = 0; size <= 1040; size++)
            exercise(form, size, 32);
        for (Size size = 1024; size <= (Size{1} << 21); size = size * 5 / 4)
            exercise(form, size, 64);
        if (form.aligned) {
            for (Size alignment = 1; alignment <= (Size{1} << 22); alignment *= 2)
                for (Size size : {Size{0}, Size{1}, Size{100}, alignment - 1, alignment, 3 * alignment + 8})
                    exercise(form, size, alignment);
        }
    }
}

void test_delete_of_null()
{
    for (const Form &form : forms)
        for (auto release : form.releases)
            for (Size size : {Size{0}, Size{8}, Size{1} << 20})
                release(nullptr, size, Align(64));
}

int alive;

struct Counted {
    Counted() { alive++; }
    ~Counted() { alive--; }
    long payload[3] = {1, 2, 3};
};

struct alignas(512) Wide {
    Wide() { alive++; }
    ~Wide() { alive--; }
    char payload[700];
};

struct Base {
    virtual ~Base() = default;
    int small = 1;
};

struct Derived : Base {
    Derived() { alive++; }
    ~Derived() override { alive--; }
    char large[5000] = "derived";
};

// The destructor makes the compiler keep the count in front of the array, and the sizes that it passes to
// delete[] include it.
void test_new_expressions()
{
    for (Size n : {Size{1}, Size{3}, Size{1000}, Size{30000}}) {
        Counted *array = new Counted[n];
        CHECK(brim_owns(opaque(array)) && alive == static_cast<int>(n));
        delete[] array;
        CHECK(alive == 0);
        Wide *wide = new (std::nothrow) Wide[n % 100];
        CHECK(brim_owns(opaque(wide)) && is_aligned(wide, alignof(Wide)));
        CHECK(alive == static_cast<int>(n % 100));
        delete[] wide;
        CHECK(alive == 0);
    }
    Wide *one = new Wide;
    CHECK(brim_owns(opaque(one)) && is_aligned(one, alignof(Wide)));
    delete one;

    // Through the base: the size that delete gets is that of the object, not of the type that is named here.
    Base *base = new Derived;
    CHECK(brim_owns(opaque(base)) && alive == 1);
    delete base;
    CHECK(alive == 0);
}

// Placement new takes nothing from the heap, and what malloc gave goes back to free.
void test_placement()
{
    void *room = std::malloc(16 * sizeof(Counted));
    CHECK(room && brim_owns(room));
    Counted *objects[16];
    for (int i = 0; i < 16; i++)
        objects[i] = new (static_cast<char *>(room) + i * sizeof(Counted)) Counted;
    CHECK(objects[0] == room && alive == 16);
    for (Counted *object : objects)
        object->~Counted();
    CHECK(alive == 0);
    std::free(room);

    void *raw = ::operator new(sizeof(Wide), Align(alignof(Wide)));
    Wide *wide = new (raw) Wide;
    wide->~Wide();
    ::operator delete(raw, sizeof(Wide), Align(alignof(Wide)));
    CHECK(alive == 0);
}

struct Throwing {
    Throwing() { throw std::runtime_error("constructor"); }
    char payload[100000];
};

// A constructor that throws hands its block back: 10 GB of them fit here only if they all do.
void test_throwing_constructor()
{
    limit_address_space(Size{512} << 20);
    int caught = 0;
    for (int i = 0; i < 100000; i++) {
        try {
            Throwing *never = i % 2 ? new Throwing : new (std::nothrow) Throwing;
            CHECK(never == nullptr);
        } catch (const std::runtime_error &) {
            caught++;
        }
    }
    CHECK(caught == 100000);
}

void test_library()
{
    std::vector<int> vector(1000, 7);
    CHECK(brim_owns(vector.data()));
    std::string text(1000, 'x');
    CHECK(brim_owns(text.data()));
    std::ostringstream stream;
    for (int i = 0; i < 10000; i++)
        stream << i << ' ';
    const std::string written = stream.str();
    CHECK(written.size() == 48890 && brim_owns(written.data()));
    std::map<std::string, std::string> map;
    std::unordered_map<int, std::string> hash;
    std::deque<std::string> deque;
    for (int i = 0; i < 5000; i++) {
        std::string key = "a key that does not fit in place " + std::to_string(i);
        map[key] = key;
        hash[i] = key;
        deque.push_back(key);
    }
    for (const auto &[key, value] : map)
        CHECK(brim_owns(&key) && brim_owns(value.data()) && key == value);
    for (int i = 0; i < 5000; i++)
        CHECK(hash.at(i) == deque[i] && brim_owns(&deque[i]));
    auto shared = std::make_shared<Wide>();
    CHECK(brim_owns(shared.get()) && is_aligned(shared.get(), alignof(Wide)));
    void *resource = std::pmr::new_delete_resource()->allocate(300, 128);
    CHECK(brim_owns(resource) && is_aligned(resource, 128));
    std::pmr::new_delete_resource()->deallocate(resource, 300, 128);
}

} // namespace

int main()
{
    require_expected_allocator();
    test_every_form();
    test_delete_of_null();
    test_new_expressions();
    test_placement();
    test_library();
    test_throwing_constructor();
    return 0;
}
