// templates.cpp: what the compilers of this folder compile: every large template family of the standard library,
// and some of our own that instantiate deeply, so that the compiler itself lives by its allocator. It is also run:
// it prints a digest of what it computed.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace {

// A type list, sorted at compile time by an insertion sort: a few thousand instantiations.
template <unsigned... N> struct list {};

template <typename L, unsigned N> struct prepend;
template <unsigned... M, unsigned N> struct prepend<list<M...>, N> { using type = list<N, M...>; };

template <typename L, unsigned N> struct insert;
template <unsigned N> struct insert<list<>, N> { using type = list<N>; };
template <unsigned First, unsigned... Rest, unsigned N> struct insert<list<First, Rest...>, N> {
    using type = typename std::conditional_t<(N <= First), prepend<list<First, Rest...>, N>,
                                             prepend<typename insert<list<Rest...>, N>::type, First>>::type;
};

template <typename L> struct sorted;
template <> struct sorted<list<>> { using type = list<>; };
template <unsigned First, unsigned... Rest> struct sorted<list<First, Rest...>> {
    using type = typename insert<typename sorted<list<Rest...>>::type, First>::type;
};

template <unsigned... I> constexpr auto scrambled(std::integer_sequence<unsigned, I...>)
{
    return list<(I * 37u % 61u)...>{};
}

template <unsigned... N> std::uint64_t fold(list<N...>)
{
    std::uint64_t digest = 14695981039346656037u;
    ((digest = (digest ^ N) * 1099511628211u), ...);
    return digest;
}

// Wide tuples of tuples, visited by index.
template <std::size_t... I> auto wide(std::index_sequence<I...>)
{
    return std::make_tuple(std::make_pair(I, std::string(I % 17, char('a' + I % 26)))...);
}

template <typename Tuple> std::size_t total_length(const Tuple &tuple)
{
    return std::apply([](const auto &...pair) { return (std::size_t{0} + ... + (pair.first + pair.second.size())); },
                      tuple);
}

using value = std::variant<std::monostate, bool, long, double, std::string, std::vector<int>,
                           std::map<std::string, std::vector<std::optional<long>>>>;

template <typename... F> struct overloaded : F... { using F::operator()...; };
template <typename... F> overloaded(F...) -> overloaded<F...>;

std::size_t weigh(const value &v)
{
    return std::visit(overloaded{[](std::monostate) { return std::size_t{1}; },
                                 [](bool b) { return std::size_t{b}; },
                                 [](long n) { return static_cast<std::size_t>(n); },
                                 [](double d) { return static_cast<std::size_t>(d * 16); },
                                 [](const std::string &s) { return s.size(); },
                                 [](const std::vector<int> &all) {
                                     return std::size_t(std::accumulate(all.begin(), all.end(), 0));
                                 },
                                 [](const auto &map) {
                                     std::size_t sum = 0;
                                     for (const auto &[key, values] : map)
                                         for (const auto &one : values)
                                             sum += key.size() + std::size_t(one.value_or(7));
                                     return sum;
                                 }},
                      v);
}

template <template <typename...> class Container> std::uint64_t churn(std::mt19937 &random)
{
    Container<std::string> container;
    for (int i = 0; i < 20000; i++)
        container.insert(container.end(), std::to_string(random() % 100000));
    std::uint64_t sum = 0;
    for (const auto &text : container)
        sum = sum * 31 + text.size();
    return sum;
}

template <typename T> using ordered = std::set<T>;
template <typename T> using repeated = std::multiset<T>;

} // namespace

int main()
{
    std::mt19937 random(20);
    std::uint64_t digest = fold(sorted<decltype(scrambled(std::make_integer_sequence<unsigned, 61>{}))>::type{});
    digest += total_length(wide(std::make_index_sequence<30>{}));

    std::vector<value> values{std::monostate{}, true, 42L, 2.5, std::string(300, 'x'), std::vector<int>{1, 2, 3},
                              std::map<std::string, std::vector<std::optional<long>>>{{"key", {1, {}, 3}}}};
    for (const auto &v : values)
        digest = digest * 31 + weigh(v);

    digest ^= churn<std::vector>(random) ^ churn<std::deque>(random) ^ churn<std::list>(random);
    digest ^= churn<ordered>(random) ^ churn<repeated>(random);

    std::unordered_map<std::string, std::shared_ptr<std::vector<int>>> table;
    for (int i = 0; i < 30000; i++) {
        auto &slot = table[std::to_string(random() % 5000)];
        if (!slot)
            slot = std::make_shared<std::vector<int>>();
        slot->push_back(i);
    }
    std::vector<std::pair<std::string, std::size_t>> flat;
    for (const auto &[key, all] : table)
        flat.emplace_back(key, all->size());
    std::sort(flat.begin(), flat.end());
    std::ostringstream text;
    for (const auto &[key, size] : flat)
        text << key << '=' << size << ';';

    const std::string rendered = text.str();
    const std::regex pattern("([0-9]+)=([0-9]);");
    digest += std::uint64_t(std::distance(std::sregex_iterator(rendered.begin(), rendered.end(), pattern),
                                          std::sregex_iterator()));
    std::function<std::uint64_t(unsigned)> fibonacci = [&](unsigned n) {
        return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
    };
    std::printf("%016llx %llu\n", static_cast<unsigned long long>(digest),
                static_cast<unsigned long long>(fibonacci(20)));
}
