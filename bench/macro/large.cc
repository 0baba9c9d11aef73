// large: a C++ file that makes the compiler work as on a large program: heavy headers, and templates
// instantiated for many types. It is compiled, never run.
#include <algorithm>
#include <chrono>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iomanip>
#include <iostream>
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
#include <variant>
#include <vector>

template <int number> struct Key {
    std::array<int, number % 7 + 1> parts;
    std::string name;
    bool operator<(const Key &other) const
    {
        return std::tie(name, parts) < std::tie(other.name, other.parts);
    }
};

template <int number> std::string exercise(const std::vector<std::string> &words)
{
    std::map<Key<number>, std::vector<std::optional<double>>> table;
    std::unordered_map<std::string, std::variant<int, std::string, std::shared_ptr<Key<number>>>> index;
    for (const std::string &word : words) {
        Key<number> key{{}, word};
        table[key].push_back(word.size() > number ? std::optional<double>(number) : std::nullopt);
        index.emplace(word, std::make_shared<Key<number>>(key));
    }
    std::deque<std::function<std::string(int)>> steps;
    for (auto &[key, values] : table)
        steps.push_back([&key = key, &values = values](int width) {
            std::ostringstream out;
            out << std::setw(width) << key.name << values.size() << std::accumulate(
                key.parts.begin(), key.parts.end(), number);
            return out.str();
        });
    std::string result;
    std::stable_sort(steps.begin(), steps.end(), [](auto &a, auto &b) { return a(1) < b(2); });
    for (auto &step : steps)
        result += std::regex_replace(step(number), std::regex("[a-z]+([0-9]*)"), "$1");
    return result + std::to_string(index.size());
}

template <int... numbers>
std::string all(std::integer_sequence<int, numbers...>, const std::vector<std::string> &words)
{
    std::string result;
    ((result += exercise<numbers>(words)), ...);
    return result;
}

int main(int argc, char **argv)
{
    std::vector<std::string> words(argv, argv + argc);
    std::mt19937_64 generator(std::chrono::steady_clock::now().time_since_epoch().count());
    std::shuffle(words.begin(), words.end(), generator);
    std::ofstream file(std::filesystem::temp_directory_path() / "large.txt");
    file << all(std::make_integer_sequence<int, INSTANCES>(), words);
    return file.good() ? 0 : 1;
}
