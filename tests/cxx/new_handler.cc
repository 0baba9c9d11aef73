// new_handler.cc: out of memory is the loop that C++ prescribes, in every form of operator new. The handler
// is called until there is memory, it throws, or there is none; nothrow forms return NULL whatever the
// handler throws, and leave the exception machinery as they found it.

#include "check.h"
#include "forms.h"

#include <exception>
#include <pthread.h>
#include <stdexcept>
#include <thread>
#include <vector>

namespace {

constexpr Size mib = Size{1} << 20;
constexpr Align alignment = Align(64);

// Not a constant: the compiler would warn, rightly.
volatile Size impossible = Size{1} << 62;

thread_local int calls;
thread_local int destroyed;

struct Witness {
    ~Witness() { destroyed++; }
};

struct Surprise {
    int value = 42;
    Witness witness;
};

// Calls a form with a handler installed; what the form then did.
enum class Outcome { block, null, bad_alloc, surprise, other };

Outcome outcome_of(const Form &form, std::new_handler handler)
{
    calls = destroyed = 0;
    std::set_new_handler(handler);
    Outcome outcome;
    try {
        void *p = opaque(form.allocate(impossible, alignment));
        outcome = p ? Outcome::block : Outcome::null;
    } catch (const std::bad_alloc &) {
        outcome = Outcome::bad_alloc;
    } catch (const Surprise &surprise) {
        outcome = surprise.value == 42 ? Outcome::surprise : Outcome::other;
    } catch (...) {
        outcome = Outcome::other;
    }
    std::set_new_handler(nullptr);
    CHECK(std::uncaught_exceptions() == 0);
    CHECK(!std::current_exception());
    return outcome;
}

void test_without_handler()
{
    for (const Form &form : forms)
        CHECK(outcome_of(form, nullptr) == (form.throws ? Outcome::bad_alloc : Outcome::null));
}

// Called again and again while it returns and there is no memory; the loop looks up the handler each time.
void test_handler_that_gives_up()
{
    for (const Form &form : forms) {
        Outcome outcome = outcome_of(form, [] {
            if (++calls == 1000)
                std::set_new_handler(nullptr);
        });
        CHECK(outcome == (form.throws ? Outcome::bad_alloc : Outcome::null));
        CHECK(calls == 1000);
    }
}

void test_handler_that_hands_over()
{
    for (const Form &form : forms) {
        Outcome outcome = outcome_of(form, [] {
            calls++;
            std::set_new_handler([] {
                calls += 10;
                throw Surprise();
            });
        });
        CHECK(outcome == (form.throws ? Outcome::surprise : Outcome::null));
        CHECK(calls == 11 && destroyed == 1);
    }
}

[[gnu::noinline]] void throw_from_below(int depth)
{
    Witness witness;
    if (depth == 0)
        throw Surprise();
    throw_from_below(depth - 1);
    CHECK(depth < 0); // keeps the call above from being the last thing done
}

// Whatever it throws: the frames between are unwound, and a nothrow form destroys the exception.
void test_handler_that_throws()
{
    for (const Form &form : forms) {
        Outcome outcome = outcome_of(form, [] { throw std::bad_alloc(); });
        CHECK(outcome == (form.throws ? Outcome::bad_alloc : Outcome::null));
        outcome = outcome_of(form, [] { throw 42; });
        CHECK(outcome == (form.throws ? Outcome::other : Outcome::null));
        outcome = outcome_of(form, [] { throw std::runtime_error(std::string(1000, 'x')); });
        CHECK(outcome == (form.throws ? Outcome::other : Outcome::null));
        outcome = outcome_of(form, [] { throw_from_below(9); });
        CHECK(outcome == (form.throws ? Outcome::surprise : Outcome::null));
        CHECK(destroyed == 10 + 1);
    }
}

// A handler that allocates, fails, and meets its own handler.
void test_nested()
{
    for (const Form &form : forms) {
        Outcome outcome = outcome_of(form, [] {
            std::set_new_handler([] { throw 1; });
            for (const Form &inner : forms) {
                if (inner.throws) {
                    try {
                        opaque(inner.allocate(impossible, alignment));
                    } catch (int) {
                        calls++;
                    }
                } else if (!opaque(inner.allocate(impossible, alignment))) {
                    calls++;
                }
            }
            throw Surprise();
        });
        CHECK(outcome == (form.throws ? Outcome::surprise : Outcome::null));
        CHECK(calls == 8 && destroyed == 1);
    }
}

// In a destructor that runs because of another exception, and in a handler of one: neither is disturbed.
void test_during_unwinding()
{
    struct Allocates {
        const Form &form;
        ~Allocates()
        {
            CHECK(std::uncaught_exceptions() == 1);
            CHECK(opaque(form.allocate(impossible, alignment)) == nullptr);
            CHECK(std::uncaught_exceptions() == 1);
            calls++;
        }
    };
    for (const Form &form : forms) {
        if (form.throws)
            continue;
        calls = 0;
        std::set_new_handler([] { throw Surprise(); });
        try {
            Allocates allocates{form};
            throw std::runtime_error("outer");
        } catch (const std::runtime_error &error) {
            CHECK(opaque(form.allocate(impossible, alignment)) == nullptr);
            CHECK(std::current_exception());
            CHECK(std::string(error.what()) == "outer");
        }
        CHECK(calls == 1 && std::uncaught_exceptions() == 0);
    }
    std::set_new_handler(nullptr);
}

// The handler gives back one block of its reserve at every third call, until the request fits.
std::vector<void *> reserve;

void test_handler_that_frees()
{
    limit_address_space(512 * mib);
    for (const Form &form : forms) {
        std::set_new_handler(nullptr);
        calls = 0;
        while (void *p = ::operator new(24 * mib, std::nothrow))
            reserve.push_back(p);
        CHECK(reserve.size() >= 8);
        const Size reserved = reserve.size();
        std::set_new_handler([] {
            if (++calls % 3 == 0) {
                CHECK(!reserve.empty());
                ::operator delete(reserve.back(), 24 * mib);
                reserve.pop_back();
            }
        });
        void *p = form.allocate(100 * mib, alignment);
        CHECK(p && brim_owns(p));
        CHECK(calls >= 3 * 4 && reserve.size() + 4 <= reserved);
        std::memset(p, 1, 100 * mib);
        form.release(p, 100 * mib);
        for (void *block : reserve)
            ::operator delete(block, 24 * mib);
        reserve.clear();
    }
    std::set_new_handler(nullptr);
}

// The handler is shared; everything else about a failure is the thread's own.
void test_threads()
{
    std::set_new_handler([] { throw Surprise(); });
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([] {
            destroyed = 0;
            int surprises = 0, nulls = 0;
            for (int round = 0; round < 200; round++) {
                for (const Form &form : forms) {
                    try {
                        if (!opaque(form.allocate(impossible, alignment)))
                            nulls++;
                    } catch (const Surprise &) {
                        surprises++;
                    }
                }
            }
            CHECK(surprises == 800 && nulls == 800 && destroyed == 1600);
        });
    for (std::thread &thread : threads)
        thread.join();
    std::set_new_handler(nullptr);
}

#ifdef _LIBCPP_VERSION
// glibc's pthread_exit unwinds with libgcc, and frames of libc++ ask LLVM's unwinder about it, which crashes.
void test_thread_exit() {}
#else
int unwound;

// pthread_exit unwinds like an exception that nobody may swallow: a nothrow form must not.
void test_thread_exit()
{
    for (const Form &form : forms) {
        unwound = 0;
        std::set_new_handler([] {
            struct Unwound {
                ~Unwound() { unwound++; }
            } here;
            pthread_exit(&unwound);
        });
        pthread_t thread;
        auto start = [](void *argument) -> void * {
            return static_cast<const Form *>(argument)->allocate(impossible, alignment);
        };
        CHECK(pthread_create(&thread, nullptr, start, const_cast<Form *>(&form)) == 0);
        void *result = nullptr;
        CHECK(pthread_join(thread, &result) == 0);
        CHECK(result == &unwound && unwound == 1);
    }
    std::set_new_handler(nullptr);
}
#endif

} // namespace

int main()
{
    require_expected_allocator();
    test_without_handler();
    test_handler_that_gives_up();
    test_handler_that_hands_over();
    test_handler_that_throws();
    test_nested();
    test_during_unwinding();
    test_threads();
    test_thread_exit();
    test_handler_that_frees();
    return 0;
}
