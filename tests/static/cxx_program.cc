// cxx_program.cc: a C++ program on brim, whichever way it was linked: what the standard library allocates,
// exceptions, threads and fork. What the operators themselves owe is tested in ../cxx.

#include "../cxx/check.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <list>
#include <locale>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <regex>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unordered_map>
#include <vector>

namespace {

// Before main, in an order that nobody chose: the allocator must be ready.
struct Early {
    std::string text = std::string(1000, 'e');
    std::unique_ptr<int> block = std::make_unique<int>(7);
} early;

void test_early()
{
    CHECK(brim_owns(early.text.data()) && brim_owns(early.block.get()) && *early.block == 7);
    CHECK(early.text == std::string(1000, 'e'));
}

template <typename Container> void check_elements(const Container &container)
{
    for (const auto &element : container)
        CHECK(brim_owns(&element));
}

void test_containers()
{
    std::vector<int> vector;
    std::deque<int> deque;
    std::list<int> list;
    std::set<int> set;
    std::map<int, std::string> map;
    std::unordered_map<std::string, int> hash;
    for (int i = 0; i < 5000; i++) {
        vector.push_back(i);
        deque.push_front(i);
        list.push_back(i);
        set.insert(i);
        map[i] = std::string(50, 'a' + i % 26);
        hash[map[i] + std::to_string(i)] = i;
    }
    check_elements(vector);
    check_elements(deque);
    check_elements(list);
    check_elements(set);
    check_elements(map);
    check_elements(hash);
    for (const auto &[key, value] : map)
        CHECK(brim_owns(value.data()) && value == std::string(50, 'a' + key % 26));
    CHECK(hash.size() == 5000 && hash.at(map[77] + "77") == 77);

    std::function<int(int)> function = [vector](int i) { return vector[i]; };
    std::function<int(int)> copy = function;
    CHECK(copy(99) == 99);
    auto shared = std::make_shared<std::vector<int>>(1000);
    std::weak_ptr<std::vector<int>> weak = shared;
    CHECK(brim_owns(shared.get()) && brim_owns(shared->data()));
    shared.reset();
    CHECK(weak.expired());
}

void test_streams()
{
    std::ostringstream out;
    for (int i = 0; i < 3000; i++)
        out << "number " << i << ", " << i / 7.0 << '\n';
    std::istringstream in(out.str());
    int lines = 0;
    for (std::string line; std::getline(in, line); lines++)
        CHECK(line.compare(0, 7, "number ") == 0);
    CHECK(lines == 3000);
    std::ifstream file("/proc/self/status");
    std::string first;
    CHECK(file >> first && first == "Name:");
    std::locale locale(std::locale::classic(), new std::numpunct<char>);
    out.imbue(locale);
    const std::regex expression("(\\w+)@(\\w+\\.)+(com|org)");
    std::smatch match;
    const std::string text = "write to somebody@lists.example.org today";
    CHECK(std::regex_search(text, match, expression) && match[1] == "somebody" && match[3] == "org");
}

struct Failure : std::runtime_error {
    explicit Failure(int at) : std::runtime_error("failed at " + std::to_string(at)), where(at) {}
    int where;
    std::string context = std::string(500, 'c');
};

void fail_at(int depth)
{
    std::vector<std::string> local(3, std::string(100, 'l'));
    if (depth == 0)
        throw Failure(static_cast<int>(local.size()));
    fail_at(depth - 1);
}

void test_exceptions()
{
    for (int i = 0; i < 500; i++) {
        try {
            fail_at(i % 20);
            CHECK(!"thrown");
        } catch (const Failure &failure) {
            CHECK(failure.where == 3 && std::string(failure.what()) == "failed at 3");
            CHECK(brim_owns(&failure) && brim_owns(failure.context.data()));
        }
    }
    std::exception_ptr kept;
    try {
        try {
            fail_at(3);
        } catch (...) {
            std::throw_with_nested(std::logic_error("outer"));
        }
    } catch (...) {
        kept = std::current_exception();
    }
    try {
        std::rethrow_exception(kept);
    } catch (const std::logic_error &error) {
        CHECK(std::string(error.what()) == "outer");
    }
}

std::atomic<int> thread_locals;

struct PerThread {
    std::string text = std::string(300, 't');
    ~PerThread()
    {
        CHECK(brim_owns(text.data()) && std::string(400, 'u').size() == 400);
        thread_locals++;
    }
};

thread_local PerThread per_thread;

void test_threads()
{
    std::mutex mutex;
    std::condition_variable arrived;
    std::deque<std::unique_ptr<std::string>> queue;
    bool closed = false;
    std::vector<std::thread> threads;
    std::atomic<int> received{0};
    for (int i = 0; i < 3; i++)
        threads.emplace_back([&] {
            CHECK(per_thread.text.size() == 300);
            for (;;) {
                std::unique_lock<std::mutex> lock(mutex);
                arrived.wait(lock, [&] { return !queue.empty() || closed; });
                if (queue.empty())
                    return;
                std::unique_ptr<std::string> message = std::move(queue.front());
                queue.pop_front();
                lock.unlock();
                CHECK(brim_owns(message->data()) && message->find_first_not_of('m') == std::string::npos);
                received++;
            }
        });
    for (int i = 0; i < 20000; i++) {
        auto message = std::make_unique<std::string>(20 + i % 3000, 'm');
        std::lock_guard<std::mutex> lock(mutex);
        queue.push_back(std::move(message));
        arrived.notify_one();
    }
    {
        std::lock_guard<std::mutex> lock(mutex);
        closed = true;
        arrived.notify_all();
    }
    for (std::thread &thread : threads)
        thread.join();
    CHECK(received == 20000 && thread_locals == 3);

    std::vector<std::future<std::string>> futures;
    for (int i = 0; i < 20; i++)
        futures.push_back(std::async(std::launch::async, [i] { return std::string(1000 + i, 'f'); }));
    for (int i = 0; i < 20; i++)
        CHECK(futures[i].get().size() == static_cast<std::size_t>(1000 + i));
    try {
        std::async(std::launch::async, [] { fail_at(2); }).get();
        CHECK(!"thrown");
    } catch (const Failure &failure) {
        CHECK(failure.where == 3);
    }
}

void test_fork()
{
    std::atomic<bool> stop{false};
    std::thread busy([&] {
        while (!stop)
            std::map<int, std::string>{{1, std::string(100, 'a')}, {2, std::string(5000, 'b')}};
    });
    for (int round = 0; round < 30; round++) {
        auto inherited = std::make_unique<std::string>(10000, 'i');
        const pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK(*inherited == std::string(10000, 'i'));
            inherited.reset();
            test_containers();
            test_exceptions();
            std::thread([] { CHECK(brim_owns(per_thread.text.data())); }).join();
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    stop = true;
    busy.join();
}

// The bound is the address space, not the compiler's idea of a size.
void test_out_of_memory()
{
    limit_address_space(std::size_t{64} << 20);
    bool thrown = false;
    std::list<std::vector<char>> kept;
    try {
        for (;;)
            kept.emplace_back(1000000, 'k');
    } catch (const std::bad_alloc &) {
        thrown = true;
    }
    CHECK(thrown && kept.size() > 10 && !opaque(new (std::nothrow) char[std::size_t{1} << 30]));
    for (const std::vector<char> &block : kept)
        CHECK(block.front() == 'k' && block.back() == 'k');
    kept.clear();
    CHECK(std::string(std::size_t{32} << 20, 's').size() == std::size_t{32} << 20);
}

} // namespace

int main()
{
    require_expected_allocator();
    test_early();
    test_containers();
    test_streams();
    test_exceptions();
    test_threads();
    test_fork();
    test_out_of_memory();
    std::cout << "done" << std::endl;
    return 0;
}
