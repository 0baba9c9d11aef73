// gbench.cc: the C++ side of gbench.h, and the only C++ of the harness. Every function forwards to the
// library's own; no policy lives here.
#include "gbench.h"

#include <array>
#include <benchmark/benchmark.h>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

benchmark::State *unwrap(gbench_state *state) { return reinterpret_cast<benchmark::State *>(state); }
const benchmark::State *unwrap(const gbench_state *state)
{
    return reinterpret_cast<const benchmark::State *>(state);
}
gbench_state *wrap(benchmark::State *state) { return reinterpret_cast<gbench_state *>(state); }
const gbench_state *wrap(const benchmark::State *state)
{
    return reinterpret_cast<const gbench_state *>(state);
}

class CBenchmark : public benchmark::internal::Benchmark {
  public:
    CBenchmark(const char *name, gbench_function *run, void *for_run)
        : Benchmark(name), context(for_run), run_(run)
    {
    }
    void Run(benchmark::State &state) override { run_(wrap(&state), context); }

    void *const context;
    gbench_hook *setup = nullptr;
    gbench_hook *teardown = nullptr;
    bool hooked = false;

  private:
    gbench_function *const run_;
};

// The library's set-up is a bare function pointer without a context, so each benchmark that has one gets a
// function of its own, instantiated in advance.
constexpr size_t hook_capacity = 256;
std::array<CBenchmark *, hook_capacity> hooked;
size_t hooked_count;

template <size_t index> void call_setup(const benchmark::State &state)
{
    CBenchmark *benchmark = hooked[index];
    if (benchmark->setup)
        benchmark->setup(wrap(&state), benchmark->context);
}

template <size_t index> void call_teardown(const benchmark::State &state)
{
    CBenchmark *benchmark = hooked[index];
    if (benchmark->teardown)
        benchmark->teardown(wrap(&state), benchmark->context);
}

using Hook = void (*)(const benchmark::State &);
template <size_t... index>
constexpr std::array<Hook, sizeof...(index)> setups(std::index_sequence<index...>)
{
    return {{call_setup<index>...}};
}
template <size_t... index>
constexpr std::array<Hook, sizeof...(index)> teardowns(std::index_sequence<index...>)
{
    return {{call_teardown<index>...}};
}
constexpr auto setup_of = setups(std::make_index_sequence<hook_capacity>());
constexpr auto teardown_of = teardowns(std::make_index_sequence<hook_capacity>());

CBenchmark *unwrap(gbench *benchmark) { return reinterpret_cast<CBenchmark *>(benchmark); }

void hook(CBenchmark *benchmark)
{
    if (benchmark->hooked)
        return;
    if (hooked_count == hook_capacity) {
        std::fprintf(stderr, "gbench: more than %zu benchmarks with a set-up\n", hook_capacity);
        std::abort();
    }
    benchmark->hooked = true;
    hooked[hooked_count] = benchmark;
    benchmark->Setup(setup_of[hooked_count]);
    benchmark->Teardown(teardown_of[hooked_count]);
    hooked_count++;
}

}  // namespace

extern "C" {

gbench *gbench_register(const char *name, gbench_function *run, void *context)
{
    // The library owns it from here on.
    CBenchmark *benchmark = new CBenchmark(name, run, context);
    benchmark::internal::RegisterBenchmarkInternal(benchmark);
    return reinterpret_cast<gbench *>(benchmark);
}

gbench *gbench_args(gbench *benchmark, const int64_t *values, size_t count)
{
    unwrap(benchmark)->Args(std::vector<int64_t>(values, values + count));
    return benchmark;
}

gbench *gbench_arg_names(gbench *benchmark, const char *const *names, size_t count)
{
    unwrap(benchmark)->ArgNames(std::vector<std::string>(names, names + count));
    return benchmark;
}

gbench *gbench_range(gbench *benchmark, int64_t first, int64_t last, int multiplier)
{
    unwrap(benchmark)->RangeMultiplier(multiplier)->Range(first, last);
    return benchmark;
}

gbench *gbench_threads(gbench *benchmark, int threads)
{
    unwrap(benchmark)->Threads(threads);
    return benchmark;
}

gbench *gbench_iterations(gbench *benchmark, int64_t iterations)
{
    unwrap(benchmark)->Iterations(iterations);
    return benchmark;
}

gbench *gbench_repetitions(gbench *benchmark, int repetitions)
{
    unwrap(benchmark)->Repetitions(repetitions);
    return benchmark;
}

gbench *gbench_min_time(gbench *benchmark, double seconds)
{
    unwrap(benchmark)->MinTime(seconds);
    return benchmark;
}

gbench *gbench_min_warmup_time(gbench *benchmark, double seconds)
{
    unwrap(benchmark)->MinWarmUpTime(seconds);
    return benchmark;
}

gbench *gbench_time_unit(gbench *benchmark, gbench_unit unit)
{
    static const benchmark::TimeUnit units[] = {benchmark::kNanosecond, benchmark::kMicrosecond,
                                                benchmark::kMillisecond, benchmark::kSecond};
    unwrap(benchmark)->Unit(units[unit]);
    return benchmark;
}

gbench *gbench_use_real_time(gbench *benchmark)
{
    unwrap(benchmark)->UseRealTime();
    return benchmark;
}

gbench *gbench_use_manual_time(gbench *benchmark)
{
    unwrap(benchmark)->UseManualTime();
    return benchmark;
}

gbench *gbench_measure_process_cpu_time(gbench *benchmark)
{
    unwrap(benchmark)->MeasureProcessCPUTime();
    return benchmark;
}

gbench *gbench_setup(gbench *benchmark, gbench_hook *function)
{
    hook(unwrap(benchmark));
    unwrap(benchmark)->setup = function;
    return benchmark;
}

gbench *gbench_teardown(gbench *benchmark, gbench_hook *function)
{
    hook(unwrap(benchmark));
    unwrap(benchmark)->teardown = function;
    return benchmark;
}

int64_t gbench_loop(gbench_state *state)
{
    benchmark::State *s = unwrap(state);
    return s->KeepRunningBatch(s->max_iterations) ? s->max_iterations : 0;
}

void gbench_pause_timing(gbench_state *state) { unwrap(state)->PauseTiming(); }
void gbench_resume_timing(gbench_state *state) { unwrap(state)->ResumeTiming(); }
void gbench_set_iteration_time(gbench_state *state, double seconds)
{
    unwrap(state)->SetIterationTime(seconds);
}

int64_t gbench_argument(const gbench_state *state, size_t index) { return unwrap(state)->range(index); }
int gbench_thread_count(const gbench_state *state) { return unwrap(state)->threads(); }
int gbench_thread_index(const gbench_state *state) { return unwrap(state)->thread_index(); }
int64_t gbench_iteration_count(const gbench_state *state) { return unwrap(state)->iterations(); }
int64_t gbench_iteration_limit(const gbench_state *state) { return unwrap(state)->max_iterations; }

void gbench_set_items_processed(gbench_state *state, int64_t items)
{
    unwrap(state)->SetItemsProcessed(items);
}
void gbench_set_bytes_processed(gbench_state *state, int64_t bytes)
{
    unwrap(state)->SetBytesProcessed(bytes);
}

void gbench_set_counter(gbench_state *state, const char *name, double value, int flags)
{
    int native = 0;
    if (flags & GBENCH_COUNTER_RATE)
        native |= benchmark::Counter::kIsRate;
    if (flags & GBENCH_COUNTER_AVERAGE_THREADS)
        native |= benchmark::Counter::kAvgThreads;
    if (flags & GBENCH_COUNTER_PER_ITERATION)
        native |= benchmark::Counter::kAvgIterations;
    if (flags & GBENCH_COUNTER_INVERT)
        native |= benchmark::Counter::kInvert;
    unwrap(state)->counters[name] = benchmark::Counter(value, static_cast<benchmark::Counter::Flags>(native));
}

void gbench_set_label(gbench_state *state, const char *label) { unwrap(state)->SetLabel(label); }
void gbench_skip_with_error(gbench_state *state, const char *message)
{
    unwrap(state)->SkipWithError(message);
}

void gbench_add_context(const char *key, const char *value) { benchmark::AddCustomContext(key, value); }
void gbench_parse(int *argc, char **argv) { benchmark::Initialize(argc, argv); }

int gbench_run(int argc, char **argv)
{
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return -1;
    size_t count = benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return static_cast<int>(count);
}
}
