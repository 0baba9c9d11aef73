// plugin.cc: the C++ plugin that loader.c, a C program, loads. When brim was bound there was no C++ runtime
// in the process; out of memory in here is std::bad_alloc all the same.

#include "check.h"
#include "forms.h"

#include <exception>
#include <string>
#include <vector>

namespace {

volatile Size impossible = Size{1} << 62;

int bad_allocs()
{
    int caught = 0;
    for (const Form &form : forms) {
        try {
            CHECK(opaque(form.allocate(impossible, Align(64))) == nullptr && !form.throws);
        } catch (const std::bad_alloc &) {
            CHECK(form.throws);
            caught++;
        }
    }
    return caught;
}

} // namespace

extern "C" int plugin_blocks_are_owned()
{
    std::vector<std::string> strings(100, std::string(100, 'x'));
    for (const Form &form : forms) {
        void *p = form.allocate(1000, Align(64));
        CHECK(brim_owns(p));
        form.release(p, 1000);
    }
    return brim_owns(strings.data()) && brim_owns(strings[50].data());
}

extern "C" int plugin_bad_allocs() { return bad_allocs(); }

// The handler throws something of its own: 4 forms let it through, 4 catch it.
extern "C" int plugin_handler_throws()
{
    static int calls;
    calls = 0;
    std::set_new_handler([] {
        calls++;
        throw std::string("from the handler");
    });
    int caught = 0, nulls = 0;
    for (const Form &form : forms) {
        try {
            if (!opaque(form.allocate(impossible, Align(64))))
                nulls++;
        } catch (const std::string &text) {
            CHECK(form.throws && text == "from the handler");
            caught++;
        }
        CHECK(std::uncaught_exceptions() == 0);
    }
    std::set_new_handler(nullptr);
    return calls == 8 && caught == 4 && nulls == 4;
}

// What the library itself allocates on this plugin's behalf.
extern "C" int plugin_library_throws()
{
    try {
        std::string text(100, 'x');
        text.reserve(impossible / 2);
    } catch (const std::bad_alloc &) {
        return 1;
    }
    return 0;
}
