/* C++: constructors, new and delete, exceptions through frames with destructors, the standard library. */
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

static int alive;
struct Counted {
    Counted() { alive++; }
    ~Counted() { alive--; }
    Counted(const Counted &) = delete;
    int value[10] = {};
};

static struct AtStart {
    AtStart() { std::puts("constructed before main"); }
    ~AtStart() { std::puts("destroyed after main"); }
} at_start;

static int thrower(int depth) {
    Counted one;
    std::unique_ptr<Counted> two(new Counted);
    if (depth == 0) throw std::runtime_error("thrown from depth 0");
    return thrower(depth - 1) + two->value[0];
}

int main() {
    try {
        thrower(50);
    } catch (const std::exception &e) {
        std::printf("caught: %s, alive %d\n", e.what(), alive);
    }
    try {
        std::vector<char> huge;
        huge.resize(~std::size_t(0) >> 1);
    } catch (const std::bad_alloc &) {
        std::puts("bad_alloc");
    }
    std::map<std::string, int> words;
    for (int i = 0; i < 1000; i++) words["word" + std::to_string(i * 7919 % 613)]++;
    std::vector<std::string> names;
    for (auto &w : words) names.push_back(w.first + ":" + std::to_string(w.second));
    std::sort(names.begin(), names.end(), [](const std::string &a, const std::string &b) { return a.size() != b.size() ? a.size() < b.size() : a < b; });
    std::printf("%zu words, first %s, last %s\n", names.size(), names.front().c_str(), names.back().c_str());
    auto *array = new Counted[100];
    std::printf("alive %d\n", alive);
    delete[] array;
    std::printf("alive %d\n", alive);
    return 0;
}
